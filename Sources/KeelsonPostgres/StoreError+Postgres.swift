import CLibPQ
import KeelsonStore

extension StoreError {
  /// Whether the disk of the server was full or failed.
  var isDiskFailure: Bool { code == .full || code == .io }

  /// The error that a statement's result reports.
  ///
  /// - Parameter sql: the statement that was tried.
  static func postgres(_ result: OpaquePointer, sql: String) -> StoreError {
    guard let state = unsafe sqlState(of: result) else {
      // Not the server's words but libpq's: the connection broke.
      return .unreachable(
        unsafe String(cString: PQresultErrorMessage(result)).split(whereSeparator: \.isWhitespace)
          .joined(separator: " "))
    }
    let message =
      unsafe field(result, keelson_pg_diag_message)
      ?? String(cString: PQresultErrorMessage(result))
    let detail = unsafe field(result, keelson_pg_diag_detail).map { " (\($0))" } ?? ""
    let code = code(of: state)
    return StoreError(
      code, "\(message)\(detail). \(advice(for: code))PostgreSQL \(state): \(sql)",
      constraint: unsafe field(result, keelson_pg_diag_constraint))
  }

  /// Source: PostgreSQL, appendix A; nil for what is not the server's error.
  static func sqlState(of result: OpaquePointer) -> String? {
    unsafe field(result, keelson_pg_diag_sqlstate)
  }

  private static func field(_ result: OpaquePointer, _ field: Int32) -> String? {
    unsafe PQresultErrorField(result, field).map { unsafe String(cString: $0) }
  }

  /// Source: PostgreSQL, appendix A, "PostgreSQL Error Codes".
  private static func code(of state: String) -> Code {
    switch state {
    case "23505", "23P01": return .conflict
    case "57014": return .timedOut
    case "57P01", "57P02", "57P03", "57P05", "25P03": return .unreachable
    case "40001", "40P01", "55P03", "53300", "25P04": return .busy
    case "53100": return .full
    case "42501": return .io
    case "XX001", "XX002": return .corrupt
    // A Bind message whose number of parameters is wrong; the connection is all right.
    case "08P01": return .misuse
    default: break
    }
    switch state.prefix(2) {
    case "23", "22": return .constraint
    case "08": return .unreachable
    case "53", "58": return .io
    default: return .misuse
    }
  }

  private static func advice(for code: Code) -> String {
    switch code {
    case .full: "Make room on the server's disk; nothing was written. "
    case .io: "The server's log says more. "
    case .corrupt: "Restore the database from a backup. "
    default: ""
    }
  }

  static func unreachable(_ message: String) -> StoreError { StoreError(.unreachable, message) }
  static let closedDatabase = StoreError(.closed, "The database has been closed.")
}
