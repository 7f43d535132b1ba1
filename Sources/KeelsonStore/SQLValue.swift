package import KeelsonCore

/// A value as it stands in a column or goes in as a parameter.
package enum SQLValue: Sendable, Hashable {
  case null
  case integer(Int64)
  case real(Double)
  case text(String)
  case blob([UInt8])
}

extension SQLValue {
  package init(_ value: Int64?) { self = value.map { .integer($0) } ?? .null }
  package init(_ value: Int?) { self = value.map { .integer(Int64($0)) } ?? .null }
  package init(_ value: Double?) { self = value.map { .real($0) } ?? .null }
  package init(_ value: String?) { self = value.map { .text($0) } ?? .null }
  package init(_ value: [UInt8]?) { self = value.map { .blob($0) } ?? .null }
  /// 1 or 0: the shared subset of SQL has no boolean column.
  package init(_ value: Bool?) { self = value.map { .integer($0 ? 1 : 0) } ?? .null }
  /// Microseconds UTC.
  package init(_ value: UnixTime?) { self = value.map { .integer($0.microseconds) } ?? .null }

  /// What kind of value it is, for error messages.
  package var kind: String {
    switch self {
    case .null: "null"
    case .integer: "an integer"
    case .real: "a real"
    case .text: "a text"
    case .blob: "a blob"
    }
  }
}

extension SQLValue: ExpressibleByNilLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByBooleanLiteral
{
  package init(nilLiteral: ()) { self = .null }
  package init(integerLiteral value: Int64) { self = .integer(value) }
  package init(floatLiteral value: Double) { self = .real(value) }
  package init(stringLiteral value: String) { self = .text(value) }
  package init(booleanLiteral value: Bool) { self = .integer(value ? 1 : 0) }
}

/// A Swift type that a column can be read as.
package protocol SQLDecodable {
  /// The value as this type; nil when it is of another kind or out of range.
  init?(_ value: SQLValue, decoding: Void)
}

extension Int64: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    guard case .integer(let integer) = value else { return nil }
    self = integer
  }
}

extension Int: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    guard case .integer(let integer) = value else { return nil }
    self.init(exactly: integer)
  }
}

extension Bool: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    switch value {
    case .integer(0): self = false
    case .integer(1): self = true
    default: return nil
    }
  }
}

extension Double: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    guard case .real(let real) = value else { return nil }
    self = real
  }
}

extension String: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    guard case .text(let text) = value else { return nil }
    self = text
  }
}

extension [UInt8]: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    guard case .blob(let bytes) = value else { return nil }
    self = bytes
  }
}

extension UnixTime: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    guard case .integer(let integer) = value else { return nil }
    self.init(microseconds: integer)
  }
}

extension Optional: SQLDecodable where Wrapped: SQLDecodable {
  package init?(_ value: SQLValue, decoding: Void) {
    if case .null = value {
      self = nil
    } else if let wrapped = Wrapped(value, decoding: ()) {
      self = wrapped
    } else {
      return nil
    }
  }
}
