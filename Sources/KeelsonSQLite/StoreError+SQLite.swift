import CSQLite
import Glibc
import KeelsonStore

extension StoreError {
  /// Whether the disk was full or failed.
  var isDiskFailure: Bool { code == .full || code == .io }

  /// The error a connection has just reported.
  ///
  /// - Parameters:
  ///   - code: the extended result code the call returned.
  ///   - context: what was tried, the SQL text for example.
  static func sqlite(_ code: Int32, _ database: OpaquePointer?, _ context: String) -> any Error {
    // SQLite does not keep it for a COMMIT that fails.
    let lastError = errno
    let message: String
    let systemError: Int32
    if let database = unsafe database {
      message = unsafe String(cString: sqlite3_errmsg(database))
      systemError = unsafe sqlite3_system_errno(database)
    } else {
      message = unsafe String(cString: sqlite3_errstr(code))
      systemError = 0
    }
    if code & 0xFF == SQLITE_INTERRUPT { return CancellationError() }
    let kind = kind(of: code, systemErrors: [lastError, systemError])
    return StoreError(
      kind, "\(message). \(advice(for: kind))SQLite \(code): \(context)",
      constraint: constraint(in: message, code: code))
  }

  private static func kind(of code: Int32, systemErrors: Set<Int32>) -> Code {
    switch code {
    case SQLITE_CONSTRAINT | 8 << 8,  // SQLITE_CONSTRAINT_UNIQUE
      SQLITE_CONSTRAINT | 6 << 8,  // SQLITE_CONSTRAINT_PRIMARYKEY
      SQLITE_CONSTRAINT | 10 << 8:  // SQLITE_CONSTRAINT_ROWID
      return .conflict
    default: break
    }
    switch code & 0xFF {
    case SQLITE_CONSTRAINT: return .constraint
    case SQLITE_FULL: return .full
    case SQLITE_IOERR where !systemErrors.isDisjoint(with: [ENOSPC, EDQUOT, EFBIG]): return .full
    case SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_READONLY, SQLITE_PERM, SQLITE_NOMEM: return .io
    case SQLITE_BUSY, SQLITE_LOCKED: return .busy
    case SQLITE_CORRUPT, SQLITE_NOTADB: return .corrupt
    default: return .misuse
    }
  }

  private static func advice(for kind: Code) -> String {
    switch kind {
    case .full: "Make room on the disk; nothing was written. "
    case .io: "Check the data folder's permissions and the disk. "
    case .corrupt: "Restore the data folder from a backup. "
    default: ""
    }
  }

  /// `UNIQUE constraint failed: flags.flag_set, flags.key` and its kin name the columns after the
  /// colon.
  private static func constraint(in message: String, code: Int32) -> String? {
    let marker = " constraint failed: "
    guard code & 0xFF == SQLITE_CONSTRAINT else { return nil }
    guard let start = message.utf8.firstRange(of: marker.utf8)?.upperBound else { return nil }
    return String(message[start...])
  }
}
