#if canImport(Glibc)
  import Glibc
#endif

/// A moment of a clock that only goes forward, also while the machine sleeps: microseconds since some
/// moment of the past. What an entry's time is measured by: setting the calendar's clock changes no
/// lifetime.
package struct CacheInstant: Sendable, Hashable, Comparable {
  package var microseconds: Int64

  package init(microseconds: Int64) {
    self.microseconds = microseconds
  }

  /// For what has no end.
  package static let distantFuture = CacheInstant(microseconds: .max)

  package static var now: CacheInstant {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return CacheInstant(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000)
  }

  package static func < (one: CacheInstant, other: CacheInstant) -> Bool {
    one.microseconds < other.microseconds
  }

  /// So much later, or ``distantFuture`` when that is beyond the last there is.
  package static func + (instant: CacheInstant, duration: Duration) -> CacheInstant {
    let (seconds, attoseconds) = duration.components
    let (scaled, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000)
    let (whole, isBeyond) = instant.microseconds.addingReportingOverflow(scaled)
    let (sum, isJustBeyond) = whole.addingReportingOverflow(attoseconds / 1_000_000_000_000)
    guard !overflows, !isBeyond, !isJustBeyond else {
      return duration > .zero ? distantFuture : CacheInstant(microseconds: .min)
    }
    return CacheInstant(microseconds: sum)
  }

  /// How much later another moment is; negative when it is earlier.
  package func duration(to other: CacheInstant) -> Duration {
    .microseconds(other.microseconds) - .microseconds(microseconds)
  }
}
