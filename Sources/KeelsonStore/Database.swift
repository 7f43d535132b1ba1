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
  /// is run at most once. A write inside a write throws a misuse error.
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

  /// Finishes the writes that wait, refuses new ones, and lets go of the files. Calling it again
  /// does nothing.
  func close() async
}

extension Database {
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

  /// Hands an event to the observers once this transaction is durable; a rollback drops it.
  /// ``Change`` calls it; services do not.
  func publish(_ event: CommittedEvent)
}

extension Transaction {
  package func query(_ sql: String) async throws -> [Row] { try await query(sql, []) }

  @discardableResult
  package func execute(_ sql: String) async throws -> Int { try await execute(sql, []) }

  /// The first row of a result, for queries that give at most one.
  package func first(_ sql: String, _ parameters: [SQLValue] = []) async throws -> Row? {
    try await query(sql, parameters).first
  }
}
