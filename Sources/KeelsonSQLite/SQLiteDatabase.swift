package import KeelsonStore
import Synchronization

/// The embedded engine: SQLite in write-ahead mode, one writer thread with group commit, a few
/// reader threads. One process at a time has the data folder.
package final class SQLiteDatabase: Database {
  package let dialect = Dialect.sqlite
  package let liveEvents: LiveEvents

  private let writer: SQLiteWriter
  private let readQueue: WorkQueue
  private let lifetime: SQLiteLifetime

  /// Opens the database in a folder, making both when they are missing. Blocks on the disk.
  ///
  /// - Throws: ``StoreError``: busy when another process has the folder, io when it cannot be
  ///   written, corrupt when the file is damaged or not ours.
  package init(_ configuration: SQLiteConfiguration) throws {
    let limits = configuration.limits
    liveEvents = LiveEvents(limits: limits.liveEvents)
    lifetime = SQLiteLifetime(lock: try FolderLock(folder: configuration.folder))
    let path = "\(configuration.folder)/keelson.sqlite"
    let wasClosed = SQLiteSetUp.wasClosed(path: path)
    let connection = try Connection(path: path)
    try SQLiteSetUp.prepareWriter(
      connection, path: path, configuration: configuration, wasClosed: wasClosed)
    let readQueue = WorkQueue(limit: limits.waitingReads, kind: "reads")
    let writer = SQLiteWriter(connection, liveEvents: liveEvents, limits: limits)
    self.readQueue = readQueue
    self.writer = writer
    do {
      for _ in 0..<limits.readers {
        let connection = try Connection(path: path)
        try SQLiteSetUp.prepareReader(connection, limits: limits)
        let reader = SQLiteReader(connection, queue: readQueue)
        try lifetime.startThread { reader.run() }
      }
      try lifetime.startThread { writer.run() }
    } catch {
      readQueue.close()
      throw error
    }
  }

  deinit {
    writer.queue.close()
    readQueue.close()
  }

  /// What the writer has done since it was opened.
  package var statistics: SQLiteStatistics { writer.statistics }

  package var writeFailure: StoreError? { writer.diskFailure }

  /// How many writes wait for their turn right now.
  package var waitingWrites: Int { writer.queue.count }

  package func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    try await PendingTransaction(body).value { readQueue.submit($0) }
  }

  @discardableResult
  package func write<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    if let current = SQLiteTransaction.current, current.isWrite, current.isRunning {
      throw StoreError(.misuse, "A write inside a write would wait for itself for ever.")
    }
    return try await PendingTransaction(body).value { writer.queue.submit($0) }
  }

  package func migrate(_ sets: [MigrationSet]) async throws {
    let head = try await write { transaction in
      try await Migrator.run([StoreMigrations.set] + sets, in: transaction, dialect: .sqlite)
      return try await ChangeHead.current(in: transaction)
    }
    liveEvents.start(at: head)
  }

  /// Moves the write-ahead log into the database and empties it. Replaced rows are zeroed in the
  /// database itself, but the log has them until it is overwritten.
  package func purge() async throws -> Bool {
    let isEmptied = Mutex(false)
    try await write { transaction in
      guard let transaction = transaction as? SQLiteTransaction else { return }
      transaction.afterCommit { connection in
        isEmptied.withLock { $0 = SQLiteSetUp.emptyLog(connection) }
      }
    }
    return isEmptied.withLock { $0 }
  }

  package func close() async {
    liveEvents.finish()
    writer.queue.close()
    readQueue.close()
    await lifetime.waitForEnd()
    // Not before: what is written until then has to be told before it is acknowledged.
    liveEvents.removeObservers()
  }
}
