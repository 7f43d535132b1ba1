public import KeelsonCore

/// The value of a setting.
public enum SettingValue: Sendable, Hashable {
  case boolean(Bool)
  /// A whole number; a size is one too, in bytes.
  case integer(Int64)
  case number(Double)
  case string(String)
  case duration(Duration)
  case list([JSONValue])
  case object([String: JSONValue])
}

extension SettingValue {
  /// The value that stands in a JSON document; nil for null, which sets nothing.
  public init?(_ json: JSONValue) {
    switch json {
    case .null: return nil
    case .bool(let value): self = .boolean(value)
    case .number(let value):
      if let integer = Int64(exactly: value), integer.magnitude < 1 << 53 {
        self = .integer(integer)
      } else {
        self = .number(value)
      }
    case .string(let value): self = .string(value)
    case .array(let values): self = .list(values)
    case .object(let members): self = .object(members)
    }
  }

  /// The value as JSON: a duration as its text.
  public var json: JSONValue {
    switch self {
    case .boolean(let value): .bool(value)
    case .integer(let value): .number(Double(value))
    case .number(let value): .number(value)
    case .string(let value): .string(value)
    case .duration(let value): .string(DurationText.text(value))
    case .list(let values): .array(values)
    case .object(let members): .object(members)
    }
  }

  /// The value as text that ``init(text:as:)`` reads back.
  public var text: String {
    switch self {
    case .integer(let value): String(value)
    case .string(let value): value
    case .duration(let value): DurationText.text(value)
    case .boolean, .number, .list, .object: json.text
    }
  }

  /// How many UTF-8 bytes its text has.
  package var byteCount: Int {
    if case .string(let value) = self { return value.utf8.count }
    return text.utf8.count
  }

  /// What it is, in a sentence.
  package var kind: String {
    switch self {
    case .boolean: "a boolean"
    case .integer: "a whole number"
    case .number: "a number"
    case .string: "a string"
    case .duration: "a duration"
    case .list: "a list"
    case .object: "an object"
    }
  }
}
