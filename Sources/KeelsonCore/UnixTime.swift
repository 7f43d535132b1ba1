#if canImport(Glibc)
  import Glibc
#endif

/// A moment of the calendar: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
public struct UnixTime: Sendable, Hashable, Comparable {
  public var microseconds: Int64

  public init(microseconds: Int64) {
    self.microseconds = microseconds
  }

  /// The time now, by the system's clock.
  public static var now: UnixTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UnixTime(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000)
  }

  public static func < (lhs: UnixTime, rhs: UnixTime) -> Bool {
    lhs.microseconds < rhs.microseconds
  }
}

extension UnixTime {
  /// The time so much later, or the last there is when it would be beyond that.
  package static func + (time: UnixTime, duration: Duration) -> UnixTime {
    let (seconds, attoseconds) = duration.components
    let (scaled, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000)
    guard !overflows else { return UnixTime(microseconds: seconds > 0 ? .max : .min) }
    // Both have the sign of the duration.
    let (whole, isBeyond) = time.microseconds.addingReportingOverflow(scaled)
    let (sum, isJustBeyond) = whole.addingReportingOverflow(attoseconds / 1_000_000_000_000)
    guard !isBeyond, !isJustBeyond else {
      return UnixTime(microseconds: duration > .zero ? .max : .min)
    }
    return UnixTime(microseconds: sum)
  }

  /// How much later another time is; negative when it is earlier.
  package func duration(to other: UnixTime) -> Duration {
    .microseconds(other.microseconds) - .microseconds(microseconds)
  }
}

extension UnixTime: CustomStringConvertible {
  /// RFC 3339 in UTC with microseconds, `2026-11-21T10:00:00.000000Z` for example.
  public var description: String {
    var seconds = time_t(microseconds / 1_000_000)
    var fraction = microseconds % 1_000_000
    if fraction < 0 {
      fraction += 1_000_000
      seconds -= 1
    }
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ value: some BinaryInteger, _ width: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return padded(parts.tm_year + 1900, 4) + "-" + padded(parts.tm_mon + 1, 2) + "-"
      + padded(parts.tm_mday, 2) + "T" + padded(parts.tm_hour, 2) + ":" + padded(parts.tm_min, 2)
      + ":" + padded(parts.tm_sec, 2) + "." + padded(fraction, 6) + "Z"
  }
}
