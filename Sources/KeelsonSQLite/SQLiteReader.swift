import KeelsonStore

/// One of the threads that read. Each has its own connection; all take from one queue.
final class SQLiteReader: Sendable {
  private let connection: Connection
  private let queue: WorkQueue
  private let executor = BodyExecutor()

  init(_ connection: Connection, queue: WorkQueue) {
    self.connection = connection
    self.queue = queue
  }

  /// Serves reads until the queue is closed and empty.
  func run() {
    while let work = queue.take() {
      guard work.begin(onCancel: { [connection] in connection.interrupt() }) else { continue }
      work.finish(overriding: failure { try serve(work) })
    }
    connection.close()
  }

  private func serve(_ work: any PendingWork) throws {
    // Deferred: the first statement takes the snapshot that all others see.
    try connection.control("BEGIN")
    let transaction = SQLiteTransaction(connection, isWrite: false)
    executor.run {
      await work.run(in: transaction)
    } started: {
      work.attach($0)
    }
    _ = transaction.end()
    try connection.control("ROLLBACK")
  }

  private func failure(_ body: () throws -> Void) -> (any Error)? {
    do {
      try body()
      return nil
    } catch {
      if connection.isInTransaction { _ = try? connection.control("ROLLBACK") }
      return error
    }
  }
}
