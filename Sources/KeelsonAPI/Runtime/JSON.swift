public import KeelsonCore

// The JSON form of messages, for people, scripts and the audit trail: members by the fields' names
// in the .proto, enums by name, times and durations as protobuf's JSON mapping has them, bytes in
// base64. Unlike in that mapping, 64-bit integers are numbers (as long as they are below 2^53), and
// fields that hold their default are present. Unknown fields are left out.

extension OpenEnum {
  /// The value's name in the .proto; its number when it has none.
  public var json: JSONValue {
    name.map { .string($0) } ?? .number(Double(rawValue))
  }
}

extension JSONValue {
  /// A number; the three that JSON does not have become text.
  public init(number: some BinaryFloatingPoint) {
    let double = Double(number)
    if double.isFinite {
      self = .number(double)
    } else {
      self = .string(double.isNaN ? "NaN" : double > 0 ? "Infinity" : "-Infinity")
    }
  }

  /// An integer; beyond 2^53 its digits as text, so that none is lost.
  public init(number: some BinaryInteger) {
    let double = Double(number)
    self = double.magnitude < 0x1p53 ? .number(double) : .string(String(number))
  }

  /// Bytes in base64 (RFC 4648, section 4).
  public init(base64 bytes: [UInt8]) {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits = group.reduce(0) { $0 << 8 | UInt32($1) }
      bits <<= 8 * UInt32(3 - group.count)
      for place in 0..<4 {
        let isFilled = place <= group.count
        text.append(isFilled ? alphabet[Int(bits >> UInt32(18 - 6 * place) & 63)] : 0x3D)
      }
    }
    self = .string(String(decoding: text, as: UTF8.self))
  }
}
