/// The few fragments of SQL that differ between the engines. All other SQL stands in the subset
/// that both understand.
package enum Dialect: Sendable, Hashable {
  case sqlite
  case postgreSQL

  /// The type of a column of 64-bit integers.
  package var integerType: String {
    switch self {
    case .sqlite: "INTEGER"
    case .postgreSQL: "BIGINT"
    }
  }

  /// The type of a column of doubles.
  package var realType: String {
    switch self {
    case .sqlite: "REAL"
    case .postgreSQL: "DOUBLE PRECISION"
    }
  }

  /// The type of a column of bytes.
  package var blobType: String {
    switch self {
    case .sqlite: "BLOB"
    case .postgreSQL: "BYTEA"
    }
  }

  /// What follows the closing parenthesis of CREATE TABLE.
  package var tableSuffix: String {
    switch self {
    case .sqlite: " STRICT"
    case .postgreSQL: ""
    }
  }

  /// What follows a SELECT that locks its rows until the transaction ends. SQLite has one writer
  /// and needs none.
  package var lockRows: String {
    switch self {
    case .sqlite: ""
    case .postgreSQL: " FOR UPDATE"
    }
  }

  /// The same, passing over rows that others hold.
  package var lockRowsSkippingLocked: String {
    switch self {
    case .sqlite: ""
    case .postgreSQL: " FOR UPDATE SKIP LOCKED"
    }
  }

  /// The function that gives the smallest of its arguments.
  package var least: String {
    switch self {
    case .sqlite: "min"
    case .postgreSQL: "least"
    }
  }

  /// Bytes as they stand in the text of a statement that cannot have parameters.
  package func blob(_ bytes: [UInt8]) -> String {
    let digits = bytes.map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
    return switch self {
    case .sqlite: "X'\(digits)'"
    case .postgreSQL: "'\\x\(digits)'::bytea"
    }
  }
}
