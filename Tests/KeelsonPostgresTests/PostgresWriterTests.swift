import KeelsonAuditTrail
import KeelsonCore
import KeelsonPostgres
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// How writes share a commit, and what ends their wait.
@Suite(.serialized, .timeLimit(.minutes(2))) struct PostgresWriterTests {
  private static let things = MigrationSet(
    "things", [Migration(1, "things", ["CREATE TABLE things (key TEXT PRIMARY KEY)"])])

  private static func change(
    _ key: String, _ database: any Database,
    _ more: @escaping @Sendable (Change) async throws -> Void = { _ in }
  ) async throws -> Int64 {
    try await database.change(.system()) { change in
      try await change.execute("INSERT INTO things VALUES ($1)", [.text(key)])
      try await more(change)
      change.audit(AuditDraft(action: "a", entityType: "thing", entityID: key))
      return change.emit(EventDraft(type: "keelson.things.A", subject: key))
    }
  }

  private static func code(_ work: () async throws -> Void) async -> StoreError.Code? {
    do {
      try await work()
      return nil
    } catch {
      return (error as? StoreError)?.code
    }
  }

  private static func audit(_ id: String) -> AuditEntry {
    AuditEntry(
      id: id, time: .now, actor: "ada", action: "a", entityType: "thing", entityID: "1",
      category: "access", outcome: .success)
  }

  /// Work that waits behind a write, so that all of it shares the next batch.
  private final class Queue {
    private let database: PostgresDatabase
    private let mayEnd = Gate()
    private let first: Task<Void, any Error>
    private var tasks: [Task<Int64, any Error>] = []

    init(_ database: PostgresDatabase) async {
      self.database = database
      let (started, mayEnd) = (Gate(), mayEnd)
      first = Task {
        try await database.write { _ in
          started.open()
          await mayEnd.wait()
        }
      }
      await started.wait()
    }

    /// Adds work at the end.
    func add(_ work: @escaping @Sendable () async throws -> Int64) async {
      tasks.append(Task { try await work() })
      while database.statistics.waitingWrites < tasks.count { await Task.yield() }
    }

    /// Lets it run; nil for what failed.
    func numbers() async throws -> [Int64?] {
      mayEnd.open()
      try await first.value
      var numbers: [Int64?] = []
      for task in tasks { numbers.append(try? await task.value) }
      return numbers
    }
  }

  /// Statements that look at events and entries find those of members before them, also when the
  /// member that looked fails; a failed one leaves neither rows nor numbers behind.
  @Test func whatABatchHasRecordedIsSeenByItsMembersAndWrittenOnce() async throws {
    try await PostgresStorage.run { database, storage in
      try await database.migrate([Self.things])
      let observed = Mutex<[Int64]>([])
      database.feed.observe { events in observed.withLock { $0 += events.map(\.revision) } }
      let id = UUIDv7.make(at: .now)
      let queue = await Queue(database)
      await queue.add { try await Self.change("a", database) }
      // Fails after what "a" recorded was written within its savepoint.
      await queue.add {
        try await Self.change("lost", database) { change in
          let seen = try await change.query("SELECT revision FROM events")
          #expect(seen.count == 1)
          throw CancellationError()
        }
      }
      await queue.add { try await Self.change("a", database) }
      await queue.add {
        try await Self.change("b", database) { change in
          let revision = try await change.currentRevision()
          #expect(revision == 1)
        }
      }
      for _ in 0..<2 {
        await queue.add { try await database.appendAudit([Self.audit(id)])[0].sequence }
      }
      await queue.add { try await Self.change("c", database) }
      let numbers = try await queue.numbers()
      #expect(numbers == [1, nil, nil, 2, 3, 3, 3])
      #expect(observed.withLock { $0 } == [1, 2, 3])
      let stored = try await database.read { transaction in
        (
          try await transaction.query("SELECT revision FROM events ORDER BY revision").count,
          try await AuditEntries.select(after: 0, limit: 100, in: transaction),
          try await transaction.query("SELECT key FROM things").count
        )
      }
      #expect(stored.0 == 3)
      #expect(stored.1.map(\.sequence) == [1, 2, 3, 4])
      #expect(stored.1.map(\.revision) == [1, 2, 0, 3])
      #expect(stored.2 == 3)
      let heads = try await storage.server.run(
        "SELECT last_revision, last_audit_sequence FROM change_sequence", in: storage.name)
      #expect(heads == ["3|4"])
    }
  }

  /// A program that is none of ours moves the head while a batch runs.
  @Test func aHeadThatIsElsewhereTakesTheBatchBack() async throws {
    try await PostgresStorage.run { database, storage in
      try await database.migrate([Self.things])
      _ = try await Self.change("a", database)
      let code = await Self.code {
        _ = try await Self.change("b", database) { _ in
          // Without its guards, which would refuse it.
          for sql in [
            "ALTER TABLE change_sequence DISABLE TRIGGER ALL",
            "UPDATE change_sequence SET last_revision = 2",
            "ALTER TABLE change_sequence ENABLE TRIGGER ALL",
          ] {
            try await storage.server.run(sql, in: storage.name)
          }
        }
      }
      #expect(code == .constraint)
      let left = try await storage.server.run(
        "SELECT count(*) FROM things", in: storage.name)
      #expect(left == ["1"])
      let head = try await database.read { try await $0.currentRevision() }
      #expect(head == 2)
    }
  }

  @Test func aStatementOfAWriteEndsWithItsCallAndTheOthersHaveTheirOwnTime() async throws {
    try await PostgresStorage.run { database, _ in
      try await database.migrate([Self.things])
      let began = ContinuousClock.now
      let queue = await Queue(database)
      await queue.add {
        let context = ServerContext(
          method: MethodDescriptor(service: "s", name: "m", kind: .unary),
          deadline: Deadline(after: .milliseconds(700)))
        return try await ServerContext.$current.withValue(context) {
          try await Self.change("late", database) {
            _ = try await $0.query("SELECT 1 FROM pg_sleep(60)")
          }
        }
      }
      await queue.add {
        try await Self.change("a", database) {
          _ = try await $0.query("SELECT 1 FROM pg_sleep(1)")
        }
      }
      let numbers = try await queue.numbers()
      #expect(numbers == [nil, 1])
      #expect(.now - began < .seconds(20))
    }
  }

  /// A connection that keeps few statements lets go of others all the time, also when a member
  /// has failed or a read was cancelled.
  @Test func nothingGoesAheadOfWhatEndsAFailedTransaction() async throws {
    var limits = PostgresConfiguration.Limits()
    limits.preparedStatements = 4
    limits.readConnections = 1
    try await PostgresStorage.run(limits: limits) { database, _ in
      try await database.migrate([Self.things])
      for round in 0..<3 {
        let queue = await Queue(database)
        for name in ["a", "b"] {
          await queue.add {
            try await Self.change("\(name)\(round)", database) { change in
              for text in 0..<6 {
                _ = try await change.query("SELECT \(text), \(round)")
              }
            }
          }
          // There already.
          await queue.add { try await Self.change("\(name)\(round)", database) }
        }
        let first = Int64(2 * round + 1)
        let numbers = try await queue.numbers()
        #expect(numbers == [first, nil, first + 1, nil])
      }
      for round in 0..<4 {
        for text in 0..<12 {
          _ = try await database.read { try await $0.query("SELECT \(text), \(round)") }
        }
        let begun = Gate()
        let read = Task {
          try await database.read { transaction in
            _ = try await transaction.query("SELECT 1")
            begun.open()
            _ = try await transaction.query("SELECT 1 FROM pg_sleep(60)")
          }
        }
        await begun.wait()
        read.cancel()
        _ = await read.result
      }
      for text in 0..<12 {
        let rows = try await database.read { try await $0.query("SELECT \(text)").count }
        #expect(rows == 1)
      }
    }
  }

  /// A database that was restored and has as many changes again: others than were seen.
  @Test func aHeadThatIsAnotherOneCutsTheNodeOff() async throws {
    try await PostgresStorage.run { database, storage in
      try await database.migrate([Self.things])
      _ = try await Self.change("a", database)
      for sql in [
        "ALTER TABLE change_sequence DISABLE TRIGGER ALL",
        "UPDATE change_sequence SET last_audit_hash = '\\x00'",
      ] {
        try await storage.server.run(sql, in: storage.name)
      }
      let code = await Self.code { _ = try await Self.change("b", database) }
      #expect(code == .revisionTooOld || code == .closed)
      #expect(database.cutOff != nil)
    }
  }

  @Test func aWriteWhoseDeadlinePassesWhileItWaitsIsNotRun() async throws {
    try await PostgresStorage.run { database, _ in
      let (started, mayEnd) = (Gate(), Gate())
      let first = Task {
        try await database.write { _ in
          started.open()
          await mayEnd.wait()
        }
      }
      await started.wait()
      let deadline = Deadline(after: .milliseconds(50))
      let context = ServerContext(
        method: MethodDescriptor(service: "s", name: "m", kind: .unary), deadline: deadline)
      let ran = Mutex(false)
      let late = Task {
        await ServerContext.$current.withValue(context) {
          await Self.code { try await database.write { _ in ran.withLock { $0 = true } } }
        }
      }
      while database.statistics.waitingWrites == 0 || deadline.remaining > .zero {
        await Task.yield()
      }
      mayEnd.open()
      try await first.value
      #expect(await late.value == .timedOut)
      #expect(ran.withLock { !$0 })
    }
  }

  @Test func aLockThatIsKeptRefusesAllWhoWaitAtOnce() async throws {
    var limits = PostgresConfiguration.Limits()
    limits.statementTimeout = .milliseconds(300)
    let storage = try await PostgresStorage(limits: limits)
    let holder = try await storage.openPostgres()
    try await holder.migrate([])
    let other = try await storage.openPostgres()
    try await other.migrate([])
    let (started, mayEnd) = (Gate(), Gate())
    let first = Task {
      try await holder.write { transaction in
        _ = try await transaction.query("SELECT 1")
        started.open()
        await mayEnd.wait()
      }
    }
    await started.wait()
    let began = ContinuousClock.now
    let codes = await withTaskGroup(of: StoreError.Code?.self) { group in
      for _ in 0..<40 { group.addTask { await Self.code { try await other.write { _ in } } } }
      return await group.reduce(into: [StoreError.Code?]()) { $0.append($1) }
    }
    // One wait of the server's, not forty.
    #expect(.now - began < .seconds(5))
    #expect(codes.allSatisfy { $0 == .busy })
    mayEnd.open()
    try await first.value
    try await other.write { _ in }
    await other.close()
    await holder.close()
    await storage.loops.stop()
  }

  /// As a server that was told to take no changes, or became a standby.
  @Test func aServerThatTakesNoChangesLosesItsConnection() async throws {
    try await PostgresStorage.run { database, _ in
      try await database.migrate([Self.things])
      let code = await Self.code {
        _ = try await Self.change("a", database) { change in
          _ = try await change.query("SELECT set_config('transaction_read_only', 'on', true)")
          try await change.execute("INSERT INTO things VALUES ('b')")
        }
      }
      #expect(code == .unreachable)
      #expect(database.statistics.connectionFailures == 1)
      var revision: Int64?
      while revision == nil { revision = try? await Self.change("a", database) }
      #expect(revision == 1)
      // A read that writes is the caller's own fault.
      let sly = await Self.code {
        try await database.read { _ = try await $0.execute("INSERT INTO things VALUES ('b')") }
      }
      #expect(sly == .misuse)
      #expect(database.statistics.connectionFailures == 1)
    }
  }

  /// A standby that must confirm and does not: nothing is acknowledged, nor by a look at the
  /// commit, and what waited is there once it may be.
  @Test func aCommitThatNoStandbyConfirmsIsNotAcknowledged() async throws {
    let server = try PrivatePostgres()
    var limits = PostgresConfiguration.Limits()
    limits.statementTimeout = .milliseconds(200)
    limits.outcomeTimeout = .seconds(1)
    try await PostgresStorage.run(on: server, limits: limits) { database, storage in
      try await database.migrate([Self.things])
      for sql in [
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()",
        // Comes back with the next command of a session, also of ours.
        "SELECT 1 FROM pg_sleep(0.1)",
      ] {
        try await server.run(sql)
      }
      let code = await Self.code { _ = try await Self.change("a", database) }
      #expect(code == .outcomeUnknown)
      for sql in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
        try await server.run(sql)
      }
      var revision: Int64?
      while revision == nil { revision = try? await Self.change("b", database) }
      #expect(revision == 2)
    }
    await server.stop()
  }
}
