import KeelsonStore
import Synchronization

/// The statements of one running transaction on an engine thread's connection.
final class SQLiteTransaction: Transaction {
  /// The transaction whose body the current task runs.
  @TaskLocal static var current: SQLiteTransaction?

  private struct State {
    /// Nil once the transaction has ended.
    var connection: Connection?
    var committed = Committed()
    var diskFailure: StoreError?
    var afterCommit: (@Sendable (Connection) -> Void)?
  }
  private let state: Mutex<State>
  let isWrite: Bool

  init(_ connection: Connection, isWrite: Bool) {
    state = Mutex(State(connection: connection))
    self.isWrite = isWrite
  }

  func query(_ sql: String, _ parameters: [SQLValue]) async throws -> [Row] {
    try withConnection { try $0.query(sql, parameters) }
  }

  @discardableResult
  func execute(_ sql: String, _ parameters: [SQLValue]) async throws -> Int {
    try withConnection { try $0.execute(sql, parameters) }
  }

  func publish(_ committed: Committed) {
    state.withLock { $0.committed.append(committed) }
  }

  /// The last failure of the disk in one of its statements, whatever the body made of it.
  var diskFailure: StoreError? { state.withLock { $0.diskFailure } }

  /// Has something done on the engine's thread once the transaction is durable, ahead of its answer.
  func afterCommit(_ body: @escaping @Sendable (Connection) -> Void) {
    state.withLock { $0.afterCommit = body }
  }

  /// What is to be done once it is durable.
  var duty: (@Sendable (Connection) -> Void)? { state.withLock { $0.afterCommit } }

  var isRunning: Bool { state.withLock { $0.connection != nil } }

  /// Ends its use; later statements throw. Returns what to publish.
  func end() -> Committed {
    state.withLock { state in
      state.connection = nil
      return state.committed
    }
  }

  private func withConnection<Value>(_ use: (Connection) throws -> Value) throws -> Value {
    if !isWrite { try Task.checkCancellation() }
    return try state.withLock { state in
      guard let connection = state.connection else {
        throw StoreError(.misuse, "A statement after the end of its transaction.")
      }
      do {
        return try use(connection)
      } catch let error as StoreError where error.isDiskFailure {
        state.diskFailure = error
        throw error
      }
    }
  }
}
