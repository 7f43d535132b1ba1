import CSQLite
import KeelsonStore
import Synchronization

/// One connection to the database file, with its prepared statements.
///
/// `@unchecked Sendable`: it belongs to one engine thread. A transaction reaches it under the
/// transaction's own lock while that thread waits for it; ``interrupt()`` may be called from any
/// thread while the connection lives.
@safe final class Connection: @unchecked Sendable {
  /// How many prepared statements are kept; the least recently used make room.
  static let statementLimit = 256

  /// Fails when the library is in use already, which costs a little speed and nothing else.
  private static let libraryIsConfigured =
    keelson_sqlite3_disable_memory_statistics() == SQLITE_OK

  private let handle: OpaquePointer
  private var statements: [String: (statement: Statement, lastUse: UInt64)] = [:]
  private var uses: UInt64 = 0
  private var isClosed = false
  /// What ``interrupt()`` leaves behind for a statement that had not begun.
  private let isInterrupted = Atomic(false)
  /// How many steps of SQLite's machine a statement runs before it looks there: some milliseconds.
  private static let stepsBetweenLooks: Int32 = 10_000

  /// - Throws: ``StoreError`` with code io or corrupt.
  init(path: String) throws {
    _ = Self.libraryIsConfigured
    var handle: OpaquePointer?
    let flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
    let status = unsafe sqlite3_open_v2(path, &handle, flags, nil)
    guard status == SQLITE_OK, let handle = unsafe handle else {
      let error = unsafe StoreError.sqlite(status, handle, "opening \(path)")
      unsafe sqlite3_close_v2(handle)
      throw error
    }
    unsafe self.handle = unsafe handle
    // Schema tricks and writes to the tables behind the tables stay shut.
    unsafe keelson_sqlite3_set_defensive(handle)
    unsafe sqlite3_progress_handler(
      handle, Self.stepsBetweenLooks,
      { data in
        guard let data = unsafe data else { return 0 }
        let connection = unsafe Unmanaged<Connection>.fromOpaque(data).takeUnretainedValue()
        return connection.isInterrupted.load(ordering: .relaxed) ? 1 : 0
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit {
    close()
  }

  /// Lets go of the file. Nothing else may be called afterwards; calling it again does nothing.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    statements = [:]
    unsafe sqlite3_close_v2(handle)
  }

  /// Runs a statement of the engine's own.
  @discardableResult
  func control(_ sql: String, _ parameters: [SQLValue] = []) throws -> [Row] {
    try statement(sql, isControl: true).query(parameters)
  }

  func query(_ sql: String, _ parameters: [SQLValue]) throws -> [Row] {
    try statement(sql, isControl: false).query(parameters)
  }

  func execute(_ sql: String, _ parameters: [SQLValue]) throws -> Int {
    try statement(sql, isControl: false).execute(parameters)
  }

  /// Whether a transaction is open.
  var isInTransaction: Bool { unsafe sqlite3_get_autocommit(handle) == 0 }

  /// Whether a foreign key that is checked at the end of the transaction is broken right now.
  var hasBrokenForeignKeys: Bool {
    var current: Int32 = 0
    var highest: Int32 = 0
    unsafe sqlite3_db_status(handle, SQLITE_DBSTATUS_DEFERRED_FKS, &current, &highest, 0)
    return current != 0
  }

  /// How many pages have been written to the disk through this connection; it wraps.
  var pagesWritten: Int32 {
    var current: Int32 = 0
    var highest: Int32 = 0
    unsafe sqlite3_db_status(handle, SQLITE_DBSTATUS_CACHE_WRITE, &current, &highest, 0)
    return current
  }

  /// Makes the running statement end with an error, and those that run long after it, until
  /// ``resume()``. SQLite's own interruption reaches only a statement that runs already.
  func interrupt() {
    isInterrupted.store(true, ordering: .relaxed)
    unsafe sqlite3_interrupt(handle)
  }

  /// Lets statements run again.
  func resume() {
    isInterrupted.store(false, ordering: .relaxed)
  }

  private func statement(_ sql: String, isControl: Bool) throws -> Statement {
    uses += 1
    if let index = statements.index(forKey: sql) {
      statements.values[index].lastUse = uses
      return statements.values[index].statement
    }
    if !isControl { try Self.checkIsOrdinary(sql) }
    let statement = try unsafe Statement(sql, in: handle)
    if statements.count >= Self.statementLimit,
      let oldest = statements.min(by: { $0.value.lastUse < $1.value.lastUse })
    {
      statements[oldest.key] = nil
    }
    statements[sql] = (statement, uses)
    return statement
  }

  /// Transactions are the engine's to begin and end, and its settings to make.
  private static func checkIsOrdinary(_ sql: String) throws {
    let first = sql.utf8.drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x09 }.prefix {
      $0 | 0x20 >= 0x61
    }
    let keyword = String(decoding: first, as: UTF8.self).uppercased()
    let reserved: Set<String> = [
      "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ATTACH", "DETACH", "PRAGMA",
      "VACUUM",
    ]
    guard !reserved.contains(keyword) else {
      throw StoreError(.misuse, "\(keyword) is the engine's alone: \(sql)")
    }
  }
}
