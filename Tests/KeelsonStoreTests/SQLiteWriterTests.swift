import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import Testing

/// What is the SQLite engine's own: group commit and its limits.
@Suite(.timeLimit(.minutes(5))) struct SQLiteWriterTests {
  private static let table = MigrationSet(
    "things", [Migration(1, "things", ["CREATE TABLE things (number INTEGER)"])])

  /// Opens a database and keeps its writer busy until the gate opens.
  private static func held(_ folder: TemporaryFolder, _ limits: SQLiteConfiguration.Limits)
    async throws -> (SQLiteDatabase, Gate, Task<Void, any Error>)
  {
    var configuration = SQLiteConfiguration(folder: folder.path)
    configuration.limits = limits
    let database = try SQLiteDatabase(configuration)
    try await database.migrate([table])
    let hasStarted = Gate()
    let mayEnd = Gate()
    let holder = Task {
      try await database.write { _ in
        hasStarted.open()
        await mayEnd.wait()
      }
    }
    await hasStarted.wait()
    return (database, mayEnd, holder)
  }

  private static func insert(_ number: Int, in database: SQLiteDatabase) async throws {
    try await database.write {
      try await $0.execute("INSERT INTO things VALUES ($1)", [SQLValue(number)])
    }
  }

  @Test func writesThatWaitTogetherShareACommit() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (database, mayEnd, holder) = try await Self.held(folder, SQLiteConfiguration.Limits())
    let before = database.statistics
    try await withThrowingTaskGroup { group in
      for number in 0..<50 { group.addTask { try await Self.insert(number, in: database) } }
      while database.waitingWrites < 50 { await Task.yield() }
      mayEnd.open()
      try await group.waitForAll()
    }
    try await holder.value
    #expect(database.statistics.writes - before.writes == 51)
    #expect(database.statistics.commits - before.commits == 1)
    #expect(database.statistics.largestBatch == 51)
    await database.close()
  }

  /// The writer waits a moment for as many writes as came last time; nobody wakes it once no more can
  /// come.
  @Test func closingWhileABatchWaitsForMoreEnds() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var limits = SQLiteConfiguration.Limits()
    limits.linger = .milliseconds(900)
    let (database, mayEnd, holder) = try await Self.held(folder, limits)
    try await withThrowingTaskGroup { group in
      for number in 0..<50 { group.addTask { try await Self.insert(number, in: database) } }
      while database.waitingWrites < 50 { await Task.yield() }
      mayEnd.open()
      try await group.waitForAll()
    }
    try await holder.value
    let hasStarted = Gate()
    let isClosed = Gate()
    let last = Task {
      try await database.write { _ in
        hasStarted.open()
        await isClosed.wait()
      }
    }
    await hasStarted.wait()
    let closing = Task { await database.close() }
    while (try? await database.read { _ in true }) == true { await Task.yield() }
    isClosed.open()
    try await last.value
    await closing.value
  }

  @Test func aBatchHasALimit() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var limits = SQLiteConfiguration.Limits()
    limits.writesPerCommit = 10
    let (database, mayEnd, holder) = try await Self.held(folder, limits)
    try await withThrowingTaskGroup { group in
      for number in 0..<49 { group.addTask { try await Self.insert(number, in: database) } }
      while database.waitingWrites < 49 { await Task.yield() }
      mayEnd.open()
      try await group.waitForAll()
    }
    try await holder.value
    #expect(database.statistics.largestBatch == 10)
    await database.close()
  }

  @Test func writesBeyondTheQueueAreRefused() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var limits = SQLiteConfiguration.Limits()
    limits.waitingWrites = 3
    let (database, mayEnd, holder) = try await Self.held(folder, limits)
    try await withThrowingTaskGroup { group in
      for number in 0..<3 { group.addTask { try await Self.insert(number, in: database) } }
      while database.waitingWrites < 3 { await Task.yield() }
      let error = await #expect(throws: StoreError.self) {
        try await Self.insert(3, in: database)
      }
      #expect(error?.code == .overloaded)
      #expect(error?.message == "3 writes wait already, the most that may; try later.")
      mayEnd.open()
      try await group.waitForAll()
    }
    try await holder.value
    try await Self.insert(4, in: database)
    await database.close()
  }

  @Test func closingFinishesWhatWaits() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (database, mayEnd, holder) = try await Self.held(folder, SQLiteConfiguration.Limits())
    let waiting = Task { try await Self.insert(1, in: database) }
    while database.waitingWrites < 1 { await Task.yield() }
    let closing = Task { await database.close() }
    mayEnd.open()
    await closing.value
    try await holder.value
    try await waiting.value
  }

  /// Otherwise an idle server holds what its last requests held.
  @Test func whatAWriteHeldIsLetGoAfterIt() async throws {
    final class Held: Sendable {}
    struct Witness {
      weak let held: Held?
    }
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (database, mayEnd, holder) = try await Self.held(folder, SQLiteConfiguration.Limits())
    var witnesses: [Witness] = []
    try await withThrowingTaskGroup { group in
      for _ in 0..<50 {
        let held = Held()
        witnesses.append(Witness(held: held))
        group.addTask { try await database.write { _ in withExtendedLifetime(held) {} } }
      }
      while database.waitingWrites < 50 { await Task.yield() }
      mayEnd.open()
      try await group.waitForAll()
    }
    try await holder.value
    // The writer lets a batch go before it takes the next one.
    try await database.write { _ in }
    #expect(witnesses.allSatisfy { $0.held == nil })
    await database.close()
  }

  @Test func aMemberWithABrokenForeignKeyFailsAlone() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (database, mayEnd, holder) = try await Self.held(folder, SQLiteConfiguration.Limits())
    let refused = Task {
      try await database.write { transaction in
        try await transaction.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        try await transaction.execute(
          "CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
        try await transaction.execute("INSERT INTO children VALUES (1)")
      }
    }
    while database.waitingWrites < 1 { await Task.yield() }
    let kept = Task { try await Self.insert(1, in: database) }
    while database.waitingWrites < 2 { await Task.yield() }
    mayEnd.open()
    let error = await #expect(throws: StoreError.self) { try await refused.value }
    #expect(error?.code == .constraint)
    try await kept.value
    try await holder.value
    #expect(database.statistics.largestBatch == 3)
    await database.close()
  }

  /// With room for a few events in memory only, subscribers that start late or read slowly take
  /// the rest from the table.
  @Test func slowSubscribersReadFromTheTable() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var configuration = SQLiteConfiguration(folder: folder.path)
    configuration.limits.liveEvents.recentEvents = 4
    let database = try SQLiteDatabase(configuration)
    try await database.migrate([])
    try await withThrowingTaskGroup(of: [Int64].self) { group in
      for start in [Int64(0), 3, 250] {
        group.addTask {
          var revisions: [Int64] = []
          for try await event in database.feed.subscribe(after: start) {
            revisions.append(event.revision)
            if event.revision == 800 { break }
          }
          return revisions
        }
      }
      await withTaskGroup { writers in
        for _ in 0..<8 {
          writers.addTask {
            for _ in 0..<100 {
              await #expect(throws: Never.self) {
                _ = try await database.change(.system()) { change in
                  change.audit(AuditDraft(action: "a", entityType: "b", entityID: "c"))
                  change.emit(EventDraft(type: "keelson.a.B", subject: "c"))
                }
              }
            }
          }
        }
      }
      for try await revisions in group {
        let first = try #require(revisions.first)
        #expect([1, 4, 251].contains(first))
        #expect(revisions == Array(first...800))
      }
    }
    await database.close()
  }
}
