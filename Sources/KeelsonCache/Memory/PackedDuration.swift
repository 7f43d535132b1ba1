/// A time in four bytes, rounded down: whole milliseconds up to 24 days, beyond that even seconds, up to
/// 136 years.
struct PackedDuration: Sendable {
  private let bits: UInt32
  private static let isSeconds: UInt32 = 1 << 31

  static let zero = PackedDuration(.zero)

  init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    if seconds < 24 * 86_400 {
      bits = UInt32(clamping: seconds * 1_000 + attoseconds / 1_000_000_000_000_000)
    } else {
      bits = Self.isSeconds | UInt32(min(seconds / 2, Int64(Self.isSeconds) - 1))
    }
  }

  var microseconds: Int64 {
    bits & Self.isSeconds == 0
      ? Int64(bits) * 1_000 : Int64(bits & ~Self.isSeconds) * 2_000_000
  }

  var duration: Duration { .microseconds(microseconds) }
}
