import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore

/// Checks the fields of a request and gathers all that is wrong, for one error.
struct AuditFieldCheck {
  /// Stands ahead of each field's name, `filter.` for example.
  let prefix: String
  private(set) var violations: [FieldViolation] = []
  /// Further violations are not told: the error has to fit into trailers.
  private static let maximumViolations = 16

  init(prefix: String = "", violations: [FieldViolation] = []) {
    self.prefix = prefix
    self.violations = violations
  }

  mutating func add(_ field: String, _ rule: String) {
    guard violations.count < Self.maximumViolations else { return }
    violations.append(FieldViolation(field: prefix + field, description: rule))
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT when something was wrong.
  func finish() throws {
    guard let first = violations.first else { return }
    let more = violations.count - 1
    throw RPCError(
      .invalidArgument,
      "\(first.field): \(first.description)" + (more > 0 ? " (and \(more) more)" : ""),
      details: [.badRequest(violations)])
  }

  /// A text of at most so many bytes.
  mutating func text(_ value: String, _ field: String, _ bytes: Int, isRequired: Bool = false) {
    if isRequired, value.isEmpty { add(field, "is required") }
    if value.utf8.count > bytes {
      add(field, "has \(value.utf8.count) bytes; at most \(bytes) are allowed")
    }
    if value.utf8.contains(0) { add(field, "has a zero byte") }
  }

  /// A word of lower-case letters, digits, `.`, `_` and `-`.
  mutating func word(_ value: String, _ field: String, _ bytes: Int, isRequired: Bool = false) {
    text(value, field, bytes, isRequired: isRequired)
    let isWord = value.utf8.allSatisfy { byte in
      (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
        || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains(byte)
    }
    if !isWord {
      add(
        field,
        "'\(value.prefix(64))' has something else than lower-case letters, digits, '.', '_' and '-'"
      )
    }
  }

  mutating func time(_ value: GoogleProtobuf.Timestamp?, _ field: String) -> UnixTime? {
    guard let value else { return nil }
    do {
      return try value.unixTime
    } catch {
      add(field, "is no moment of the years 1 to 9999")
      return nil
    }
  }

  mutating func outcome(_ value: KeelsonAuditV1.Outcome, _ field: String) -> AuditEntry.Outcome? {
    switch value {
    case .unspecified: return nil
    case .success: return .success
    case .failure: return .failure
    case .denied: return .denied
    case .unrecognized(let number):
      add(field, "\(number) is no outcome; there are SUCCESS, FAILURE and DENIED")
      return nil
    }
  }
}

/// The form of identifiers: 36 lower-case characters of a UUID. Source: RFC 9562, section 4.
enum UUIDText {
  static func isValid(_ text: String) -> Bool {
    guard text.utf8.count == 36 else { return false }
    for (index, byte) in text.utf8.enumerated() {
      let isHyphen = [8, 13, 18, 23].contains(index)
      let isDigit = (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
      guard isHyphen ? byte == UInt8(ascii: "-") : isDigit else { return false }
    }
    return true
  }
}
