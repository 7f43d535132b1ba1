/// The 128 bits of a UUID, of any version, and its forms as text and bytes. Source: RFC 9562,
/// section 4.
package struct UUIDBits: Sendable, Hashable, Comparable {
  private let high: UInt64
  private let low: UInt64

  /// The length of the text form.
  package static let textBytes = 36
  /// The length of the binary form.
  package static let byteCount = 16

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Reads the text form, 36 characters, hexadecimal digits of either case; nil for anything else.
  package init?(_ text: String) {
    var (high, low): (UInt64, UInt64) = (0, 0)
    var position = 0
    for character in text.utf8 {
      if position == 8 || position == 13 || position == 18 || position == 23 {
        guard character == UInt8(ascii: "-") else { return nil }
      } else {
        guard let digit = Self.digit(character) else { return nil }
        if position < 18 { high = high << 4 | digit } else { low = low << 4 | digit }
      }
      position += 1
    }
    guard position == Self.textBytes else { return nil }
    self.init(high: high, low: low)
  }

  /// Reads the binary form; nil unless it has 16 bytes.
  package init?(_ bytes: [UInt8]) {
    guard bytes.count == Self.byteCount else { return nil }
    self.init(
      high: bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) },
      low: bytes[8...].reduce(0) { $0 << 8 | UInt64($1) })
  }

  private static func digit(_ character: UInt8) -> UInt64? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(character &- UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(character &- UInt8(ascii: "a") &+ 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(character &- UInt8(ascii: "A") &+ 10)
    default: nil
    }
  }

  package static func < (one: Self, other: Self) -> Bool {
    (one.high, one.low) < (other.high, other.low)
  }

  /// In the order of the text, so that both are ordered alike.
  package var bytes: [UInt8] {
    Array(unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
      for index in 0..<8 {
        buffer[index] = UInt8(truncatingIfNeeded: high >> UInt64(56 - 8 * index))
        buffer[index + 8] = UInt8(truncatingIfNeeded: low >> UInt64(56 - 8 * index))
      }
      count = Self.byteCount
    }
  }

  /// 36 lower-case characters.
  package var text: String {
    String(unsafeUninitializedCapacity: Self.textBytes) { buffer in
      write(to: buffer)
      return Self.textBytes
    }
  }

  /// Adds the text form to an array.
  package func append(to bytes: inout [UInt8]) {
    let start = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: Self.textBytes))
    bytes.withUnsafeMutableBufferPointer { buffer in
      write(to: UnsafeMutableBufferPointer(rebasing: buffer[start...]))
    }
  }

  private func write(to buffer: UnsafeMutableBufferPointer<UInt8>) {
    let text = UnsafeMutableRawBufferPointer(buffer)
    let (first, second) = (Self.digits(high >> 32), Self.digits(high))
    let (third, fourth) = (Self.digits(low >> 32), Self.digits(low))
    text.storeBytes(of: first.bigEndian, as: UInt64.self)
    text.storeBytes(of: Self.upperHalf(second), toByteOffset: 9, as: UInt32.self)
    text.storeBytes(of: Self.lowerHalf(second), toByteOffset: 14, as: UInt32.self)
    text.storeBytes(of: Self.upperHalf(third), toByteOffset: 19, as: UInt32.self)
    text.storeBytes(of: Self.lowerHalf(third), toByteOffset: 24, as: UInt32.self)
    text.storeBytes(of: fourth.bigEndian, toByteOffset: 28, as: UInt64.self)
    buffer[8] = 0x2D
    buffer[13] = 0x2D
    buffer[18] = 0x2D
    buffer[23] = 0x2D
  }

  private static func upperHalf(_ digits: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: digits >> 32).bigEndian
  }

  private static func lowerHalf(_ digits: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: digits).bigEndian
  }

  /// The eight hexadecimal digits of the lower 32 bits, one in each byte, all at once.
  private static func digits(_ value: UInt64) -> UInt64 {
    var nibbles = value & 0xFFFF_FFFF
    nibbles = (nibbles | nibbles << 16) & 0x0000_FFFF_0000_FFFF
    nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF
    nibbles = (nibbles | nibbles << 4) & 0x0F0F_0F0F_0F0F_0F0F
    // 1 in each byte whose digit is a letter: those stand 0x27 further on in ASCII.
    let letters = (nibbles &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
    return nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
  }
}
