package import KeelsonCore

extension CronExpression {
  /// Occurrences are looked for up to the end of this year.
  package static let lastYear = 9_999

  /// The first occurrence after a time; nil when there is none up to ``lastYear``.
  ///
  /// A fixed time that the clock skips occurs when it skips it, and one that the clock shows twice
  /// occurs the first time. What follows the wall clock occurs whenever the clock shows it: never
  /// while skipped, and twice while shown twice.
  package func next(after time: UnixTime, in zone: TimeZoneRules) -> UnixTime? {
    let moment = Int(time.microseconds / 1_000_000) - (time.microseconds % 1_000_000 < 0 ? 1 : 0)
    let next =
      followsWallClock
      ? nextShown(after: moment, in: zone) : nextFixed(after: moment, in: zone)
    return next.map { UnixTime(microseconds: Int64($0) * 1_000_000) }
  }

  private func nextFixed(after moment: Int, in zone: TimeZoneRules) -> Int? {
    // What the clock shows now, and all below it, first came no later than now.
    var clock = zone.wallClock(at: moment)
    while let match = match(onOrAfter: WallClock(seconds: clock.seconds + 1)) {
      let first = zone.firstMoment(showing: match)
      if first > moment { return first }
      clock = match
    }
    return nil
  }

  private func nextShown(after moment: Int, in zone: TimeZoneRules) -> Int? {
    var start = moment + 1
    while true {
      let period = zone.period(at: start)
      guard let match = match(onOrAfter: period.wallClock(at: start)) else { return nil }
      let moment = match.seconds - period.offsetSeconds
      if moment < period.end { return moment }
      start = period.end
    }
  }

  /// The first time that matches all fields, on a clock that neither skips nor repeats.
  private func match(onOrAfter clock: WallClock) -> WallClock? {
    let today = clock.daysSince1970
    guard let day = matchingDay(onOrAfter: today) else { return nil }
    if day == today, let second = secondOfDay(onOrAfter: clock.secondOfDay) {
      return WallClock(daysSince1970: day, secondOfDay: second)
    }
    guard let day = day > today ? day : matchingDay(onOrAfter: today + 1),
      let second = secondOfDay(onOrAfter: 0)
    else { return nil }
    return WallClock(daysSince1970: day, secondOfDay: second)
  }

  private func secondOfDay(onOrAfter second: Int) -> Int? {
    var (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60)
    while let matchingHour = Self.lowest(of: hours, from: hour) {
      if matchingHour > hour { (minute, second) = (0, 0) }
      hour = matchingHour
      while let matchingMinute = Self.lowest(of: minutes, from: minute) {
        if matchingMinute > minute { second = 0 }
        minute = matchingMinute
        if let matching = Self.lowest(of: seconds, from: second) {
          return hour * 3_600 + minute * 60 + matching
        }
        (minute, second) = (minute + 1, 0)
      }
      (hour, minute, second) = (hour + 1, 0, 0)
    }
    return nil
  }

  private func matchingDay(onOrAfter day: Int) -> Int? {
    var day = day
    var date = CivilDate(daysSince1970: day)
    while date.year <= Self.lastYear {
      let days = CivilDate.days(inMonth: date.month, of: date.year)
      if months & 1 << date.month != 0 {
        while date.day <= days {
          if matches(day: date.day, weekday: CivilDate.weekday(daysSince1970: day)) { return day }
          date.day += 1
          day += 1
        }
      } else {
        day += days - date.day + 1
      }
      date =
        date.month == 12
        ? CivilDate(year: date.year + 1, month: 1, day: 1)
        : CivilDate(year: date.year, month: date.month + 1, day: 1)
    }
    return nil
  }

  private func matches(day: Int, weekday: Int) -> Bool {
    let isDay = daysOfMonth & 1 << day != 0
    let isWeekday = daysOfWeek & 1 << weekday != 0
    return needsBothDays ? isDay && isWeekday : isDay || isWeekday
  }

  private static func lowest(of bits: UInt64, from first: Int) -> Int? {
    let rest = first < 64 ? (bits >> first) << first : 0
    return rest == 0 ? nil : rest.trailingZeroBitCount
  }
}
