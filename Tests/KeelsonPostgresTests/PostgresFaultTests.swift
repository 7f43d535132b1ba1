import KeelsonAuditTrail
import KeelsonCore
import KeelsonPostgres
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// What happens when connections break, the server ends, or there is more to do than there may be.
@Suite(.serialized, .timeLimit(.minutes(3))) struct PostgresFaultTests {
  /// Adds one event and one audit entry; returns the revision.
  private static func change(
    _ database: any Database, _ more: @escaping @Sendable (Change) async throws -> Void = { _ in }
  ) async throws -> Int64 {
    try await database.change(.system()) { change in
      try await more(change)
      change.audit(AuditDraft(action: "a", entityType: "thing", entityID: "1"))
      return change.emit(EventDraft(type: "keelson.things.A", subject: "1"))
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

  /// Repeats until it works: the connection comes back by itself.
  private static func eventually<Value>(_ work: () async throws -> Value) async throws -> Value {
    let end = ContinuousClock.now.advanced(by: .seconds(30))
    while true {
      do {
        return try await work()
      } catch let error as StoreError where error.code == .unreachable {
        guard .now < end else { throw error }
        await Task.yield()
      }
    }
  }

  @Test func aBackendEndedInATransactionTakesItsBatchWithItAndTheNextWorks() async throws {
    try await PostgresStorage.run { database, storage in
      let first = try await Self.change(database)
      let ended = await Self.code {
        _ = try await Self.change(database) { change in
          let backend: Int64 = try #require(
            try await change.first("SELECT pg_backend_pid()")
          ).get(0)
          try await storage.server.run("SELECT pg_terminate_backend(\(backend))")
          try await change.execute("UPDATE change_sequence SET id = id")
        }
      }
      #expect(ended == .unreachable)
      let next = try await Self.eventually { try await Self.change(database) }
      #expect(next == first + 1)
    }
  }

  /// A trigger ends the connection while the commit runs, before it is made.
  @Test func aBackendEndedInACommitIsAnsweredByWhatBecameOfIt() async throws {
    try await PostgresStorage.run { database, storage in
      // Deferred, so that it runs within COMMIT.
      for sql in [
        "CREATE TABLE victims (id bigint)",
        """
        CREATE FUNCTION end_me() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$
        """,
        """
        CREATE CONSTRAINT TRIGGER ending AFTER INSERT ON victims DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION end_me()
        """,
      ] {
        try await storage.server.run(sql, in: storage.name)
      }
      let observed = Mutex<[Int64]>([])
      database.feed.observe { events in observed.withLock { $0 += events.map(\.revision) } }
      let first = try await Self.change(database)
      let ended = await Self.code {
        _ = try await Self.change(database) {
          try await $0.execute("INSERT INTO victims VALUES (1)")
        }
      }
      #expect(ended == .unreachable)
      let next = try await Self.eventually { try await Self.change(database) }
      #expect(next == first + 1)
      #expect(observed.withLock { $0 } == [first, next])
      let rows = try await storage.server.run("SELECT count(*) FROM victims", in: storage.name)
      #expect(rows == ["0"])
    }
  }

  /// The answer to COMMIT is cut off by a relay in between, after the server has made it.
  @Test func aCommitWhoseAnswerIsLostIsFoundAndAcknowledgedOnce() async throws {
    let storage = try await PostgresStorage()
    let relay = try Relay(to: storage.server.port)
    let url = storage.url.replacing(":\(storage.server.port)/", with: ":\(relay.port)/")
    let database = try await PostgresDatabase.open(
      PostgresConfiguration(url: url + "?sslmode=disable"), loops: storage.loops, logger: .silent)
    try await database.migrate([])
    let observed = Mutex<[Int64]>([])
    database.feed.observe { events in observed.withLock { $0 += events.map(\.revision) } }
    var revisions = [try await Self.change(database)]
    for _ in 0..<5 {
      revisions.append(
        try await Self.change(database) { _ in relay.cut(atAnswerWith: Array("COMMIT\0".utf8)) })
      revisions.append(try await Self.eventually { try await Self.change(database) })
    }
    #expect(relay.cuts == 5)
    #expect(revisions == Array(revisions[0]..<revisions[0] + 11))
    #expect(observed.withLock { $0 } == revisions)
    let stored = try await database.feed.events(after: 0, limit: 100).map(\.revision)
    #expect(stored == revisions)
    await database.close()
    relay.close()
    await storage.loops.stop()
  }

  @Test func aRestartOfTheServerIsSurvivedAndCallsFailAtOnceMeanwhile() async throws {
    let server = try PrivatePostgres()
    try await PostgresStorage.run(on: server) { database, _ in
      let first = try await Self.change(database)
      try await server.crash()
      for _ in 0..<3 {
        let began = ContinuousClock.now
        let write = await Self.code { _ = try await Self.change(database) }
        let read = await Self.code {
          _ = try await database.read { try await $0.query("SELECT 1") }
        }
        #expect([write, read] == [.unreachable, .unreachable])
        #expect(.now - began < .seconds(5))
      }
      await #expect(throws: RPCError.self) { try await DatabaseHealthCheck(database).check() }
      try await server.start()
      let next = try await Self.eventually { try await Self.change(database) }
      #expect(next == first + 1)
      let revision = try await Self.eventually {
        try await database.read { try await $0.currentRevision() }
      }
      #expect(revision == next)
      let outcome = try await DatabaseHealthCheck(database).check()
      #expect(outcome == .healthy)
    }
    await server.stop()
  }

  @Test func readsBeyondThePoolWaitAndBeyondTheQueueAreRefused() async throws {
    var limits = PostgresConfiguration.Limits()
    limits.readConnections = 2
    limits.waitingReads = 4
    try await PostgresStorage.run(limits: limits) { database, _ in
      // One connection and two places in the queue for each of two loops.
      let mayEnd = Gate()
      let begun = Told()
      let reads = (0..<20).map { _ in
        Task {
          try await database.read { transaction in
            _ = try await transaction.query("SELECT 1")
            begun.append([1])
            await mayEnd.wait()
          }
        }
      }
      await begun.wait(for: 2)
      #expect(database.statistics.usedConnections == 2)
      mayEnd.open()
      var refused = 0
      for read in reads {
        if await Self.code({ try await read.value }) == .overloaded { refused += 1 }
      }
      #expect(refused >= 20 - 6)
      #expect(database.statistics.openConnections <= 2)
      let again = try await database.read { try await $0.query("SELECT 1").count }
      #expect(again == 1)
    }
  }

  @Test func writesBeyondTheQueueAreRefused() async throws {
    var limits = PostgresConfiguration.Limits()
    limits.waitingWrites = 3
    try await PostgresStorage.run(limits: limits) { database, _ in
      let (started, mayEnd) = (Gate(), Gate())
      let first = Task {
        try await database.write { _ in
          started.open()
          await mayEnd.wait()
        }
      }
      await started.wait()
      let others = (0..<10).map { _ in Task { try await database.write { _ in } } }
      var outcomes: [StoreError.Code?] = []
      for other in others.suffix(1) { outcomes.append(await Self.code { try await other.value }) }
      mayEnd.open()
      try await first.value
      for other in others.dropLast() { outcomes.append(await Self.code { try await other.value }) }
      #expect(outcomes.count { $0 == .overloaded } == 7)
    }
  }

  @Test func aStatementEndsWithTheDeadlineOfItsCall() async throws {
    try await PostgresStorage.run { database, _ in
      let context = ServerContext(
        method: MethodDescriptor(service: "s", name: "m", kind: .unary),
        deadline: Deadline(after: .milliseconds(200)))
      let began = ContinuousClock.now
      let code = await ServerContext.$current.withValue(context) {
        await Self.code {
          _ = try await database.read { try await $0.query("SELECT 1 FROM pg_sleep(60)") }
        }
      }
      #expect(code == .timedOut)
      #expect(.now - began < .seconds(20))
      // Later ones have their own time.
      let rows = try await database.read { try await $0.query("SELECT 1").count }
      #expect(rows == 1)
    }
  }

  @Test func aStatementEndsAtTheLimitOfAllStatements() async throws {
    var limits = PostgresConfiguration.Limits()
    limits.statementTimeout = .milliseconds(200)
    try await PostgresStorage.run(limits: limits) { database, _ in
      let read = await Self.code {
        _ = try await database.read { try await $0.query("SELECT 1 FROM pg_sleep(60)") }
      }
      let write = await Self.code {
        _ = try await database.write { try await $0.query("SELECT 1 FROM pg_sleep(60)") }
      }
      #expect([read, write] == [.timedOut, .timedOut])
      _ = try await Self.change(database)
    }
  }

  /// What one node commits is told by the other, in order and once, also when both write at once.
  @Test func twoNodesTellTheSameEventsInTheSameOrder() async throws {
    let storage = try await PostgresStorage()
    var nodes: [PostgresDatabase] = []
    for _ in 0..<2 {
      nodes.append(try await storage.openPostgres())
      try await nodes.last?.migrate([])
    }
    let told = nodes.map { node in
      let told = Told()
      node.feed.observe { told.append($0.map(\.revision)) }
      return told
    }
    let first = nodes[0]
    let second = nodes[1]
    try await withThrowingTaskGroup { group in
      for number in 0..<8 {
        group.addTask {
          for _ in 0..<50 { _ = try await Self.change(number % 2 == 0 ? first : second) }
        }
      }
      try await group.waitForAll()
    }
    for told in told {
      await told.wait(for: 400)
      #expect(told.revisions == Array(1...400))
    }
    // Audit entries alone are heard of, too.
    let waiting = Task { try await second.liveEvents.waitForAudit(after: 400) }
    _ = try await first.appendAudit([
      AuditEntry(
        id: UUIDv7.make(at: .now), time: .now, actor: "ada", action: "a", entityType: "thing",
        entityID: "1", category: "access", outcome: .success)
    ])
    #expect(try await waiting.value == 401)
    for node in nodes { await node.close() }
    await storage.loops.stop()
  }

  /// More than a node catches up with under the lock of all writes.
  @Test func aNodeFarBehindCatchesUpAndGoesOn() async throws {
    let storage = try await PostgresStorage()
    let first = try await storage.openPostgres()
    let second = try await storage.openPostgres()
    try await first.migrate([])
    try await second.migrate([])
    let told = Told()
    second.feed.observe { told.append($0.map(\.revision)) }
    try await withThrowingTaskGroup { group in
      for _ in 0..<5 {
        group.addTask {
          try await first.change(.system()) { change in
            change.audit(AuditDraft(action: "a", entityType: "thing", entityID: "1"))
            for _ in 0..<2_000 {
              change.emit(EventDraft(type: "keelson.things.A", subject: "1"))
            }
          }
        }
        group.addTask { _ = try await Self.change(second) }
      }
      try await group.waitForAll()
    }
    await told.wait(for: 10_005)
    #expect(told.revisions == Array(1...10_005))
    await second.close()
    await first.close()
    await storage.loops.stop()
  }

  @Test func textsCompareByTheirBytes() async throws {
    try await PostgresStorage.run { database, _ in
      try await database.migrate([
        MigrationSet(
          "words", [Migration(1, "words", ["CREATE TABLE words (word TEXT PRIMARY KEY)"])])
      ])
      let words = try await database.write { transaction in
        for word in ["b", "A", "a", "B", "ä", "_", "a-b", "ab"] {
          try await transaction.execute("INSERT INTO words VALUES ($1)", [.text(word)])
        }
        return try await transaction.query("SELECT word FROM words ORDER BY word")
          .map { try $0.get(0, as: String.self) }
      }
      #expect(words == ["A", "B", "_", "a", "a-b", "ab", "b", "ä"])
    }
  }

  @Test func aTextThatCannotBeStoredTakesNothingOfItsNeighboursBack() async throws {
    try await PostgresStorage.run { database, _ in
      try await database.migrate([
        MigrationSet(
          "words", [Migration(1, "words", ["CREATE TABLE words (word TEXT PRIMARY KEY)"])])
      ])
      let (started, mayEnd) = (Gate(), Gate())
      let first = Task {
        try await database.write { transaction in
          try await transaction.execute("INSERT INTO words VALUES ('kept')")
          started.open()
          await mayEnd.wait()
        }
      }
      await started.wait()
      let second = Task {
        try await database.write {
          try await $0.execute("INSERT INTO words VALUES ($1)", ["a\0b"])
        }
      }
      // Both are to be in one batch.
      while database.statistics.waitingWrites == 0 { await Task.yield() }
      mayEnd.open()
      try await first.value
      let code = await Self.code { _ = try await second.value }
      #expect(code == .constraint)
      let words = try await database.read { try await $0.query("SELECT word FROM words").count }
      #expect(words == 1)
    }
  }

  @Test func sumsAreIntegersAndATextWithNULIsRefused() async throws {
    try await PostgresStorage.run { database, _ in
      let row = try await database.read {
        try await $0.first(
          """
          SELECT sum(n), sum(-n), avg(n), sum(big), CAST('100000000000000000000000' AS numeric)
          FROM (VALUES (CAST(40000 AS bigint), CAST(\(Int64.max) AS numeric)), (40001, 0)) v (n, big)
          """)
      }
      #expect(
        row?.values == [
          80_001, -80_001, .real(40_000.5), .integer(.max), .real(1e23),
        ])
      let code = await Self.code {
        _ = try await database.read { try await $0.query("SELECT CAST($1 AS TEXT)", ["a\0b"]) }
      }
      #expect(code == .constraint)
    }
  }
}

/// Revisions that an observer was told of, for tests to wait for.
private final class Told: Sendable {
  private struct State {
    var revisions: [Int64] = []
    var waiter: (count: Int, continuation: CheckedContinuation<Void, Never>)?
  }
  private let state = Mutex(State())

  var revisions: [Int64] { state.withLock { $0.revisions } }

  func append(_ revisions: [Int64]) {
    let woken = state.withLock { state -> CheckedContinuation<Void, Never>? in
      state.revisions += revisions
      guard let waiter = state.waiter, state.revisions.count >= waiter.count else { return nil }
      state.waiter = nil
      return waiter.continuation
    }
    woken?.resume()
  }

  func wait(for count: Int) async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if state.revisions.count < count { state.waiter = (count, continuation) }
        return state.revisions.count >= count
      }
      if isThere { continuation.resume() }
    }
  }
}
