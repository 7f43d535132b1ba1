/// The value of the `grpc-message` header: UTF-8, percent-encoded.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Status-Message".
package enum StatusMessage {
  private static let percent = UInt8(ascii: "%")
  private static let digits = Array("0123456789ABCDEF".utf8)

  /// Whether a byte may stand for itself.
  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte <= 0x7E && byte != percent
  }

  /// The message as the header carries it.
  package static func encode(_ message: String) -> String {
    guard !message.utf8.allSatisfy(isPlain) else { return message }
    var encoded: [UInt8] = []
    encoded.reserveCapacity(message.utf8.count * 2)
    for byte in message.utf8 {
      if isPlain(byte) {
        encoded.append(byte)
      } else {
        encoded.append(percent)
        encoded.append(digits[Int(byte >> 4)])
        encoded.append(digits[Int(byte & 0x0F)])
      }
    }
    return String(decoding: encoded, as: UTF8.self)
  }

  /// The message that a header carries. Nothing is refused: a percent sign without two digits
  /// stands for itself, and what is no UTF-8 becomes U+FFFD.
  package static func decode(_ value: Span<UInt8>) -> String {
    var isEncoded = false
    for index in value.indices where value[index] == percent { isEncoded = true }
    guard isEncoded else { return String(repairing: value) }
    var decoded: [UInt8] = []
    decoded.reserveCapacity(value.count)
    var index = 0
    while index < value.count {
      if value[index] == percent, index + 2 < value.count,
        let high = hexadecimal(value[index + 1]), let low = hexadecimal(value[index + 2])
      {
        decoded.append(high << 4 | low)
        index += 3
      } else {
        decoded.append(value[index])
        index += 1
      }
    }
    return String(decoding: decoded, as: UTF8.self)
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
