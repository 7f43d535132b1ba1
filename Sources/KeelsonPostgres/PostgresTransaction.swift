import KeelsonCore
import KeelsonStore
import KeelsonTransport
import Synchronization

/// The statements of one running transaction on a connection.
///
/// `@unchecked Sendable`: touched on the connection's loop only, but for `isRunning`, which is
/// atomic; a statement from elsewhere comes to the loop first.
final class PostgresTransaction: Transaction, @unchecked Sendable {
  /// The transaction whose body the current task runs.
  @TaskLocal static var current: PostgresTransaction?

  let isWrite: Bool
  private let connection: PostgresConnection
  private let running = Atomic(true)
  /// What goes out with the first statement: it begins the transaction, or its savepoint.
  private var prefix: [SQLStatement]
  /// What the members of its batch before it have recorded.
  private var earlier: BatchRecord
  /// Whether that is written in its savepoint.
  private var earlierIsWritten = false
  /// What it has recorded itself, and where the changes stand with it.
  private var own: BatchRecord
  private var committed = Committed()
  /// Whether anything has been sent.
  private(set) var hasBegun = false
  /// The error of the statement that failed: PostgreSQL runs nothing more in this transaction.
  private(set) var failure: StoreError?
  private var isCancelled = false
  private var waiters: [UInt64: CheckedContinuation<[StatementResult], any Error>] = [:]
  private var nextWaiter: UInt64 = 0

  /// A read.
  init(_ connection: PostgresConnection, prefix: [SQLStatement]) {
    self.connection = connection
    isWrite = false
    self.prefix = prefix
    earlier = BatchRecord(head: nil)
    own = earlier
  }

  /// A member of a batch.
  init(_ connection: PostgresConnection, after record: BatchRecord, prefix: [SQLStatement]) {
    self.connection = connection
    isWrite = true
    self.prefix = prefix
    earlier = record
    own = BatchRecord(head: record.head)
  }

  var isRunning: Bool { running.load(ordering: .acquiring) }

  /// Whether an answer is still on its way that nobody waits for.
  var wasCancelled: Bool { isCancelled }

  // MARK: Statements

  func query(_ sql: String, _ parameters: [SQLValue]) async throws -> [Row] {
    try await run([SQLStatement(sql, parameters)]).last?.rows ?? []
  }

  @discardableResult
  func execute(_ sql: String, _ parameters: [SQLValue]) async throws -> Int {
    try await run([SQLStatement(sql, parameters)]).last?.changedRows ?? 0
  }

  @discardableResult
  func executeAll(_ statements: [SQLStatement]) async throws -> [Int] {
    guard !statements.isEmpty else { return [] }
    return try await run(statements).map(\.changedRows)
  }

  func queryAll(_ statements: [SQLStatement]) async throws -> [[Row]] {
    guard !statements.isEmpty else { return [] }
    return try await run(statements).map(\.rows)
  }

  func publish(_ later: Committed) {
    committed.append(later)
  }

  func lockedHead(_ dialect: Dialect) async throws -> ChangeHead {
    // The lock of all writes is held since before it was read.
    if let head = own.head { return head }
    return try await ChangeHead.read(in: self, lock: dialect.lockRows)
  }

  func record(_ record: ChangeRecord) async throws {
    try checkIsRunning()
    // Here, where it fails for one only.
    guard !record.hasNUL else {
      throw StoreError(
        .constraint,
        "A text of an entry or event holds a NUL character, which PostgreSQL does not store.")
    }
    guard connection.loop.isCurrent else {
      return try await withTaskExecutorPreference(connection.loop) {
        try await recordOnLoop(record)
      }
    }
    try await recordOnLoop(record)
  }

  private func recordOnLoop(_ later: ChangeRecord) async throws {
    try checkIsRunning()
    if let failure { throw failure }
    if let head = own.head, head != later.from {
      throw StoreError(.misuse, "Another change moved the head of changes meanwhile.")
    }
    own.append(later)
    publish(later.committed)
    if earlier.isFull || own.isFull { _ = try await runOnLoop([]) }
  }

  /// Runs statements in one round trip.
  func run(_ commands: [SQLStatement]) async throws -> [StatementResult] {
    try checkIsRunning()
    for command in commands { try OrdinaryStatement.check(command.sql) }
    guard connection.loop.isCurrent else {
      return try await withTaskExecutorPreference(connection.loop) {
        try await runOnLoop(commands)
      }
    }
    return try await runOnLoop(commands)
  }

  private func runOnLoop(_ commands: [SQLStatement]) async throws -> [StatementResult] {
    try checkIsRunning()
    if !isWrite { try Task.checkCancellation() }
    if isCancelled { throw CancellationError() }
    if let failure { throw failure }
    // Ahead of taking the prefix: it belongs to others too.
    for command in commands { try PostgresParameters.check(command.parameters, sql: command.sql) }
    var first = prefix
    if commands.isEmpty || commands.contains(where: { BatchRecord.isSeen(by: $0.sql) }) {
      first += takeUnwritten()
    }
    let all = first + commands
    let skipped = first.count
    prefix = []
    hasBegun = true
    nextWaiter += 1
    let id = nextWaiter
    let results = try await withCheckedThrowingContinuation { continuation in
      waiters[id] = continuation
      connection.send(all) { [self] result in
        if case .failure(let error) = result { failure = failure ?? error }
        waiters.removeValue(forKey: id)?.resume(with: result.mapError { $0 })
      }
    }
    return Array(results.dropFirst(skipped))
  }

  /// What writes all that is unwritten; it is taken for written from then on.
  private func takeUnwritten() -> [SQLStatement] {
    earlier.append(own)
    defer {
      earlier.wasWritten()
      own.wasWritten()
      earlierIsWritten = true
    }
    return earlier.statements
  }

  /// Adds what it has recorded to that of its batch, once it has ended well.
  func addRecord(to record: inout BatchRecord) {
    if earlierIsWritten { record.wasWritten() }
    record.append(own)
  }

  private func checkIsRunning() throws {
    guard isRunning else {
      throw StoreError(.misuse, "A statement after the end of its transaction.")
    }
  }

  // MARK: The end

  /// Lets whoever waits for a statement go; it may still run. On the loop.
  func cancel() {
    guard isRunning else { return }
    isCancelled = true
    let waiting = waiters
    waiters = [:]
    for waiter in waiting.values { waiter.resume(throwing: CancellationError()) }
  }

  /// Ends its use; later statements throw. On the loop.
  ///
  /// - Returns: what to publish once it is durable.
  func end() -> Committed {
    running.store(false, ordering: .releasing)
    // Else the batch's would be copied to grow.
    earlier = BatchRecord(head: nil)
    return committed
  }
}

/// Which statements a body may run: transactions are the engine's to begin and end, and its
/// sessions to set up.
enum OrdinaryStatement {
  private static let reserved: Set<String> = [
    "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE",
    "DEALLOCATE", "EXECUTE", "LISTEN", "UNLISTEN", "NOTIFY", "SET", "RESET", "DISCARD", "COPY",
    "VACUUM",
  ]

  /// - Throws: ``StoreError`` with code misuse.
  static func check(_ sql: String) throws {
    let first = sql.utf8.drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x09 }.prefix {
      $0 | 0x20 >= 0x61
    }
    let keyword = String(decoding: first, as: UTF8.self).uppercased()
    guard !reserved.contains(keyword) else {
      throw StoreError(.misuse, "\(keyword) is the engine's alone: \(sql)")
    }
  }
}
