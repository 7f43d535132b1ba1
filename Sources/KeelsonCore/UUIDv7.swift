/// A time-ordered identifier. Source: RFC 9562, section 5.7.
package struct UUIDv7: Sendable, Hashable {
  private let high: UInt64
  private let low: UInt64

  /// The length of the text form.
  package static let textBytes = 36

  /// A new identifier with its random bits from a generator of the caller's.
  package init(at time: UnixTime, using generator: inout some RandomNumberGenerator) {
    self.init(at: time, random: generator.next())
  }

  /// A new identifier.
  ///
  /// - Parameter random: the random bits; two of the 64 are not used.
  package init(at time: UnixTime, random: UInt64) {
    let milliseconds = UInt64(max(0, time.microseconds) / 1_000)
    // Sub-millisecond time in rand_a keeps identifiers made in one process in order
    // (RFC 9562, section 6.2, method 3).
    let fraction = UInt64(max(0, time.microseconds) % 1_000) * 4096 / 1_000
    high = milliseconds << 16 | 0x7000 | fraction
    low = random & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000 as UInt64
  }

  /// A new identifier in its text form, 36 lower-case characters.
  package static func make(at time: UnixTime = .now) -> String {
    var generator = SystemRandomNumberGenerator()
    return UUIDv7(at: time, using: &generator).text
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
