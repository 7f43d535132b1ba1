/// Writes an encoded protobuf message field by field.
struct WireWriter {
  private(set) var bytes: [UInt8] = []

  mutating func put(_ number: Int, _ value: Int) {
    varint(UInt64(number << 3))
    varint(UInt64(bitPattern: Int64(value)))
  }

  mutating func put(_ number: Int, _ value: String) {
    put(number, Array(value.utf8))
  }

  mutating func put(_ number: Int, _ value: [UInt8]) {
    varint(UInt64(number << 3 | 2))
    varint(UInt64(value.count))
    bytes += value
  }

  mutating func put(_ number: Int, _ body: (inout WireWriter) -> Void) {
    var inner = WireWriter()
    body(&inner)
    put(number, inner.bytes)
  }

  private mutating func varint(_ value: UInt64) {
    var value = value
    while value >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
      value >>= 7
    }
    bytes.append(UInt8(value))
  }
}
