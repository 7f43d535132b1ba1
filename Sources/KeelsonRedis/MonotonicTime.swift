/// Nanoseconds of the monotonic clock since some moment of this process: what fits into an atomic.
enum MonotonicTime {
  private static let start = ContinuousClock.now

  static var now: Int64 { nanoseconds(.now) }

  static func nanoseconds(_ instant: ContinuousClock.Instant) -> Int64 {
    start.duration(to: instant).nanoseconds
  }
}

extension Duration {
  /// Whole nanoseconds; a duration of centuries is none that is used here.
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    return seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000
  }
}
