/// A time-ordered identifier. Source: RFC 9562, section 5.7.
package struct UUIDv7: Sendable, Hashable {
  package let bits: UUIDBits

  /// The length of the text form.
  package static let textBytes = UUIDBits.textBytes

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
    bits = UUIDBits(
      high: milliseconds << 16 | 0x7000 | fraction,
      low: random & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000 as UInt64)
  }

  /// A new identifier in its text form, 36 lower-case characters.
  package static func make(at time: UnixTime = .now) -> String {
    var generator = SystemRandomNumberGenerator()
    return UUIDv7(at: time, using: &generator).text
  }

  /// 36 lower-case characters.
  package var text: String { bits.text }

  /// Adds the text form to an array.
  package func append(to bytes: inout [UInt8]) { bits.append(to: &bytes) }
}
