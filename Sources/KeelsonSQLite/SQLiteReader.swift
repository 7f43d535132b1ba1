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
      connection.resume()
      guard work.begin(onCancel: { [connection] in connection.interrupt() }) else { continue }
      do {
        // Deferred: the first statement takes the snapshot that all others see.
        try connection.control("BEGIN")
        serve(work)
        work.finish(overriding: nil)
      } catch {
        work.finish(overriding: error)
      }
    }
    connection.close()
  }

  private func serve(_ work: any PendingWork) {
    let transaction = SQLiteTransaction(connection, isWrite: false)
    executor.run {
      await work.run(in: transaction)
    } started: {
      work.attach($0)
    }
    _ = transaction.end()
    connection.resume()
    // Some errors have ended it already. A cancellation may interrupt the ROLLBACK; it does not
    // come twice.
    for _ in 0..<2 where connection.isInTransaction {
      _ = try? connection.control("ROLLBACK")
    }
  }
}
