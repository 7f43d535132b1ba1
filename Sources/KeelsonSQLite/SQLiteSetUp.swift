import Glibc
import KeelsonStore

/// The settings that every connection gets before it is used.
enum SQLiteSetUp {
  /// "KEEL": tells our files from those of other programs (SQLite, pragma application_id).
  static let applicationID: Int64 = 0x4B45_454C

  /// Whether the database was closed by whoever had it last: then its log is gone (SQLite, "The
  /// WAL File" in wal.html).
  static func wasClosed(path: String) -> Bool {
    var log = stat()
    return unsafe stat("\(path)-wal", &log) != 0 || log.st_size == 0
  }

  /// - Parameter wasClosed: as ``wasClosed(path:)`` said before the database was opened.
  /// - Throws: ``StoreError`` with code corrupt when the file is damaged or another program's.
  static func prepareWriter(
    _ connection: Connection, path: String, configuration: SQLiteConfiguration, wasClosed: Bool
  ) throws {
    try checkIsOurs(connection, path: path)
    let mode = try connection.control("PRAGMA journal_mode = WAL").first?.get(0, as: String.self)
    guard mode == "wal" else {
      throw StoreError(
        .io,
        """
        The file system of \(path) cannot hold a write-ahead log; choose a data folder on a \
        local disk.
        """)
    }
    let limits = configuration.limits
    // FULL: the log is flushed at each commit, so what was acknowledged survives a power cut.
    try connection.control("PRAGMA synchronous = FULL")
    try connection.control("PRAGMA wal_autocheckpoint = \(limits.walPages)")
    try connection.control("PRAGMA journal_size_limit = \(limits.walPages * 4_096)")
    if let pages = limits.maximumPages {
      try connection.control("PRAGMA max_page_count = \(pages)")
    }
    // Zeroes deleted rows where that costs no further write; some builds do it everywhere.
    try connection.control("PRAGMA secure_delete = FAST")
    try prepare(connection, limits: limits)
    if try connection.control("PRAGMA application_id").first?.get(0) == 0 {
      try connection.control("PRAGMA application_id = \(applicationID)")
    }
    switch configuration.integrityCheck {
    case .never: break
    case .afterCrash: if !wasClosed { try checkIntegrity(connection, path: path) }
    case .always: try checkIntegrity(connection, path: path)
    }
  }

  static func prepareReader(_ connection: Connection, limits: SQLiteConfiguration.Limits) throws {
    try prepare(connection, limits: limits)
    try connection.control("PRAGMA query_only = ON")
  }

  /// Empties the write-ahead log. Waits for readers for a moment only, since writes wait meanwhile.
  ///
  /// - Returns: whether it is empty.
  static func emptyLog(_ connection: Connection) -> Bool {
    do {
      try connection.control("PRAGMA busy_timeout = 20")
      defer { _ = try? connection.control("PRAGMA busy_timeout = \(busyMilliseconds)") }
      let row = try connection.control("PRAGMA wal_checkpoint(TRUNCATE)").first
      // The first column is 1 when readers were in the way.
      return try row?.get(0, as: Int64.self) == 0
    } catch {
      return false
    }
  }

  private static let busyMilliseconds = 5_000

  private static func prepare(_ connection: Connection, limits: SQLiteConfiguration.Limits) throws {
    // Waits out the moments when another of our connections recovers or resets the log.
    try connection.control("PRAGMA busy_timeout = \(busyMilliseconds)")
    try connection.control("PRAGMA foreign_keys = ON")
    try connection.control("PRAGMA trusted_schema = OFF")
    try connection.control("PRAGMA cell_size_check = ON")
    // Savepoints keep old pages here; in memory they cost no file.
    try connection.control("PRAGMA temp_store = MEMORY")
    try connection.control("PRAGMA cache_size = -\(limits.cacheBytesPerConnection >> 10)")
  }

  private static func checkIsOurs(_ connection: Connection, path: String) throws {
    do {
      let id: Int64 = try connection.control("PRAGMA application_id").first?.get(0) ?? 0
      let tables = try connection.control("SELECT count(*) FROM sqlite_schema").first?
        .get(0, as: Int.self)
      guard id == applicationID || (id == 0 && tables == 0) else {
        throw StoreError(
          .corrupt,
          "\(path) is a database of another program (application id \(id)); choose another folder.")
      }
    } catch let error as StoreError where error.code == .corrupt && error.cause == nil {
      guard !error.message.hasPrefix(path) else { throw error }
      throw StoreError(
        .corrupt,
        "\(path) is damaged or not a database. Restore it from a backup, or choose another folder.",
        cause: error)
    }
  }

  private static func checkIntegrity(_ connection: Connection, path: String) throws {
    let finding = try connection.control("PRAGMA quick_check(1)").first?.get(0, as: String.self)
    guard finding == "ok" else {
      throw StoreError(
        .corrupt, "\(path) is damaged: \(finding ?? "no answer"). Restore it from a backup.")
    }
  }
}
