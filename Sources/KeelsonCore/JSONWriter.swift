/// Writes JSON text: compact, members sorted by name, so equal values have equal texts.
struct JSONWriter {
  private(set) var bytes: [UInt8] = []

  mutating func write(_ value: JSONValue) {
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

  private mutating func write(_ text: String) {
    put("\"")
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): put("\\\"")
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
    put("\"")
  }

  private mutating func put(_ text: String) {
    bytes.append(contentsOf: text.utf8)
  }
}
