/// A database: transactions, migrations, and the feed of committed events.
package protocol Database: Sendable {
  var dialect: Dialect { get }

  /// The committed events of this process, as they happen. Reach them through ``feed``.
  var liveEvents: LiveEvents { get }

  /// The failure of the disk that refused changes, with code full or io; nil once a later change
  /// has reached the disk.
  var writeFailure: StoreError? { get }

  /// Runs a body against one consistent snapshot.
  ///
  /// The body runs on the engine's thread and must not wait for anything but its statements.
  ///
  /// - Throws: what the body throws; ``StoreError``; `CancellationError` when the task is
  ///   cancelled while it waits or a statement runs.
  func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result

  /// Runs a body as one transaction and returns once it is durable. Whatever is thrown has
  /// rolled it back, wholly and alone.
  ///
  /// The body runs on the engine's thread and must not wait for anything but its statements. It
  /// is run at most once. A write inside a write throws a misuse error. A body that catches the
  /// error of a statement and goes on may be rolled back all the same: PostgreSQL runs nothing more
  /// in a transaction in which a statement has failed.
  ///
  /// - Throws: what the body throws; ``StoreError``; `CancellationError` when the task is
  ///   cancelled before its turn came.
  @discardableResult
  func write<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result

  /// Brings the schema up to date, in one transaction: the store's own tables, then each set in
  /// the order given.
  ///
  /// - Throws: ``StoreError`` with code tooNew when the database knows migrations that this
  ///   binary does not, schemaMismatch when a migration that ran has been changed since.
  func migrate(_ sets: [MigrationSet]) async throws

  /// Has what was deleted or replaced leave the engine's files, as far as it can: for what must not
  /// be found again.
  ///
  /// - Returns: whether it is done; false when readers are in the way just now.
  /// - Throws: ``StoreError``.
  func purge() async throws -> Bool

  /// Finishes the writes that wait, refuses new ones, and lets go of the files. Calling it again
  /// does nothing.
  func close() async
}

extension Database {
  /// Nothing that a server of its own does not do by itself: PostgreSQL's VACUUM.
  package func purge() async throws -> Bool { true }

  /// The feed of committed events, stored and live.
  package var feed: ChangeFeed { ChangeFeed(database: self) }
}

/// The statements of one transaction. Used only inside the body it was handed to.
///
/// Parameters are `$1`, `$2`, ... Statements are prepared once and kept, so keep values out of
/// their text.
package protocol Transaction: AnyObject, Sendable {
  /// Runs a statement and returns all of its rows.
  func query(_ sql: String, _ parameters: [SQLValue]) async throws -> [Row]

  /// Runs a statement and returns how many rows it changed.
  @discardableResult
  func execute(_ sql: String, _ parameters: [SQLValue]) async throws -> Int

  /// Runs statements one after the other and returns how many rows each changed. An engine that
  /// lies across a network sends them in one go, and one that fails may be followed by others that
  /// have no effect.
  @discardableResult
  func executeAll(_ statements: [SQLStatement]) async throws -> [Int]

  /// Runs statements one after the other and returns the rows of each; sent as those of
  /// ``executeAll(_:)`` are.
  func queryAll(_ statements: [SQLStatement]) async throws -> [[Row]]

  /// Hands events and the end of the audit trail to the observers once this transaction is
  /// durable; a rollback drops them. ``Change`` calls it; services do not.
  func publish(_ committed: Committed)

  /// The head of all changes, which nobody else moves until this transaction ends.
  func lockedHead(_ dialect: Dialect) async throws -> ChangeHead

  /// Writes entries and events, moves the head over them and publishes them. An engine may write
  /// them later, with those of other transactions that it commits together, as long as every
  /// statement that looks finds them.
  ///
  /// - Throws: ``StoreError``.
  func record(_ record: ChangeRecord) async throws
}

/// A statement with its parameters.
package struct SQLStatement: Sendable, Hashable {
  package var sql: String
  package var parameters: [SQLValue]

  package init(_ sql: String, _ parameters: [SQLValue] = []) {
    self.sql = sql
    self.parameters = parameters
  }
}

/// What a transaction has added that others wait for.
package struct Committed: Sendable, Hashable {
  /// In the order of their revisions, without a gap.
  package var events: [CommittedEvent]
  /// The number of the newest audit entry.
  package var auditSequence: Int64

  package init(events: [CommittedEvent] = [], auditSequence: Int64 = 0) {
    self.events = events
    self.auditSequence = auditSequence
  }

  /// This and what was committed after it.
  package mutating func append(_ later: Committed) {
    events += later.events
    auditSequence = max(auditSequence, later.auditSequence)
  }
}

extension Transaction {
  @discardableResult
  package func executeAll(_ statements: [SQLStatement]) async throws -> [Int] {
    var counts: [Int] = []
    for statement in statements {
      counts.append(try await execute(statement.sql, statement.parameters))
    }
    return counts
  }

  package func queryAll(_ statements: [SQLStatement]) async throws -> [[Row]] {
    var results: [[Row]] = []
    for statement in statements { results.append(try await query(statement)) }
    return results
  }

  package func query(_ statement: SQLStatement) async throws -> [Row] {
    try await query(statement.sql, statement.parameters)
  }

  package func query(_ sql: String) async throws -> [Row] { try await query(sql, []) }

  @discardableResult
  package func execute(_ sql: String) async throws -> Int { try await execute(sql, []) }

  /// The first row of a result, for queries that give at most one.
  package func first(_ sql: String, _ parameters: [SQLValue] = []) async throws -> Row? {
    try await query(sql, parameters).first
  }
}
