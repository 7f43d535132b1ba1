/// How a zone's clocks differed and will differ from UTC, as its file of the IANA time zone
/// database says (RFC 9636).
///
/// Moments are whole seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
package struct TimeZoneRules: Sendable {
  /// A change of the offset.
  package struct Transition: Sendable, Hashable {
    package var moment: Int
    /// Seconds that the wall clock is ahead of UTC from that moment on.
    package var offsetSeconds: Int
  }

  /// A time during which the offset stays the same.
  package struct Period: Sendable, Hashable {
    package var start: Int
    /// The first moment after it; `Int.max` when it does not end.
    package var end: Int
    package var offsetSeconds: Int

    package func wallClock(at moment: Int) -> WallClock {
      WallClock(seconds: moment + offsetSeconds)
    }
  }

  /// An offset is at most this far from UTC: RFC 9636, section 3.2, has them within 26 hours.
  package static let maximumOffsetSeconds = 26 * 3_600

  /// The offset ahead of the first transition.
  let firstOffsetSeconds: Int
  /// In order of time.
  let transitions: [Transition]
  /// What holds after the last transition; nil when nothing changes any more.
  let rule: PosixTimeZoneRule?

  package static let utc = TimeZoneRules(firstOffsetSeconds: 0, transitions: [], rule: nil)

  /// The period that a moment lies in.
  package func period(at moment: Int) -> Period {
    var low = 0
    var high = transitions.count
    while low < high {
      let middle = (low + high) / 2
      if transitions[middle].moment <= moment { low = middle + 1 } else { high = middle }
    }
    var period = Period(
      start: low > 0 ? transitions[low - 1].moment : Int.min,
      end: low < transitions.count ? transitions[low].moment : Int.max,
      offsetSeconds: low > 0 ? transitions[low - 1].offsetSeconds : firstOffsetSeconds)
    guard low == transitions.count, let rule else { return period }
    for transition in rule.transitions(around: moment) where transition.moment > period.start {
      if transition.moment <= moment {
        period.start = transition.moment
        period.offsetSeconds = transition.offsetSeconds
      } else {
        period.end = transition.moment
        break
      }
    }
    return period
  }

  package func wallClock(at moment: Int) -> WallClock {
    period(at: moment).wallClock(at: moment)
  }

  /// The first moment at which the clock shows a time; of a time that it skips, the moment of the
  /// skip.
  package func firstMoment(showing clock: WallClock) -> Int {
    // Surely before the clock shows it, whatever the offset.
    var period = period(at: clock.seconds - 2 * Self.maximumOffsetSeconds)
    while true {
      if period.start != .min, clock.seconds < period.start + period.offsetSeconds {
        return period.start
      }
      if period.end == .max || clock.seconds < period.end + period.offsetSeconds {
        return clock.seconds - period.offsetSeconds
      }
      period = self.period(at: period.end)
    }
  }
}
