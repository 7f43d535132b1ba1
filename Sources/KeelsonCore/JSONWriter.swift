/// Writes JSON text: compact, members sorted by name, so equal values have equal texts. Who has many
/// values writes them one by one, without building a ``JSONValue``.
package struct JSONWriter {
  private(set) var bytes: [UInt8] = []

  package init() {}

  package var text: String { String(decoding: bytes, as: UTF8.self) }

  package mutating func write(_ value: JSONValue) {
    switch value {
    case .null: put("null")
    case .bool(let value): put(value ? "true" : "false")
    case .number(let value): write(value)
    case .string(let value): write(value)
    case .array(let values):
      put("[")
      for (index, value) in values.enumerated() {
        if index > 0 { put(",") }
        write(value)
      }
      put("]")
    case .object(let members):
      put("{")
      for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
        if index > 0 { put(",") }
        write(member.key)
        put(":")
        write(member.value)
      }
      put("}")
    }
  }

  /// Whole numbers print without a fraction; the numbers that JSON does not have as null.
  private mutating func write(_ number: Double) {
    if let whole = Int64(exactly: number) {
      put(String(whole))
    } else {
      put(number.isFinite ? number.description : "null")
    }
  }

  package mutating func write(_ text: String) {
    bytes.append(Self.quote)
    if text.utf8.contains(where: Self.isEscaped) {
      for byte in text.utf8 { write(byte) }
    } else {
      bytes.append(contentsOf: text.utf8)
    }
    bytes.append(Self.quote)
  }

  private static let quote = UInt8(ascii: "\"")

  private static func isEscaped(_ byte: UInt8) -> Bool {
    byte < 0x20 || byte == quote || byte == UInt8(ascii: "\\")
  }

  private mutating func write(_ byte: UInt8) {
    switch byte {
    case Self.quote: put("\\\"")
    case UInt8(ascii: "\\"): put("\\\\")
    case 0x0A: put("\\n")
    case 0x0D: put("\\r")
    case 0x09: put("\\t")
    case 0..<0x20:
      let digits = String(byte, radix: 16)
      put("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
    default: bytes.append(byte)
    }
  }

  /// What needs no quotes: brackets, commas, names that are known, numbers.
  package mutating func put(_ text: String) {
    bytes.append(contentsOf: text.utf8)
  }
}
