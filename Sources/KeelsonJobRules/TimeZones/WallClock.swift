/// What the clock on a wall shows, as the seconds from 1970-01-01T00:00:00 on that clock: a day has
/// 86,400 of them, whatever the offset from UTC does meanwhile.
package struct WallClock: Sendable, Hashable, Comparable {
  package static let secondsPerDay = 86_400

  package var seconds: Int

  package init(seconds: Int) {
    self.seconds = seconds
  }

  package init(daysSince1970 days: Int, secondOfDay: Int) {
    seconds = days * Self.secondsPerDay + secondOfDay
  }

  package var daysSince1970: Int {
    let days = seconds / Self.secondsPerDay
    return seconds % Self.secondsPerDay < 0 ? days - 1 : days
  }

  /// 0 to 86,399.
  package var secondOfDay: Int {
    seconds - daysSince1970 * Self.secondsPerDay
  }

  package static func < (lhs: WallClock, rhs: WallClock) -> Bool {
    lhs.seconds < rhs.seconds
  }
}
