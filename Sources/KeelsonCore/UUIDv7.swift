/// Time-ordered identifiers. Source: RFC 9562, section 5.7.
package enum UUIDv7 {
  /// A new identifier in its text form, 36 lower-case characters.
  package static func make(at time: UnixTime = .now) -> String {
    var generator = SystemRandomNumberGenerator()
    return make(at: time, using: &generator)
  }

  /// A new identifier with its random bits from a generator of the caller's.
  package static func make(at time: UnixTime, using generator: inout some RandomNumberGenerator)
    -> String
  {
    let milliseconds = UInt64(max(0, time.microseconds) / 1_000)
    // Sub-millisecond time in rand_a keeps identifiers made in one process in order
    // (RFC 9562, section 6.2, method 3).
    let fraction = UInt64(max(0, time.microseconds) % 1_000) * 4096 / 1_000
    let high = milliseconds << 16 | 0x7000 | fraction
    let low = generator.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000 as UInt64
    return String(unsafeUninitializedCapacity: 36) { buffer in
      var position = 0
      func put(_ value: UInt64, from: Int, to: Int) {
        var shift = from
        while shift > to {
          shift -= 4
          let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 0xF
          buffer[position] = digit < 10 ? 0x30 + digit : 0x57 + digit
          position += 1
        }
      }
      func dash() {
        buffer[position] = 0x2D
        position += 1
      }
      put(high, from: 64, to: 32)
      dash()
      put(high, from: 32, to: 16)
      dash()
      put(high, from: 16, to: 0)
      dash()
      put(low, from: 64, to: 48)
      dash()
      put(low, from: 48, to: 0)
      return 36
    }
  }
}
