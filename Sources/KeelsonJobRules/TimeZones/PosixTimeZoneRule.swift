/// The rule for all years to come at the end of a zone's file: a `TZ` string of POSIX, with the
/// extensions of RFC 9636, section 3.3.1 (hours from -167 to 167).
struct PosixTimeZoneRule: Sendable, Hashable {
  /// The day of a year on which an offset changes.
  enum Day: Sendable, Hashable {
    /// `Jn`: 1 to 365, 29 February never counted.
    case julian(Int)
    /// `n`: 0 to 365, 29 February counted.
    case ordinal(Int)
    /// `Mm.w.d`: the week 1 to 5 of a month, where 5 is the last; 0 is Sunday.
    case weekday(month: Int, week: Int, weekday: Int)

    func daysSince1970(in year: Int) -> Int {
      let newYear = CivilDate(year: year, month: 1, day: 1).daysSince1970
      switch self {
      case .julian(let day):
        return newYear + day - 1 + (CivilDate.isLeap(year) && day >= 60 ? 1 : 0)
      case .ordinal(let day):
        return newYear + day
      case .weekday(let month, let week, let weekday):
        let first = CivilDate(year: year, month: month, day: 1).daysSince1970
        let ahead = (weekday - CivilDate.weekday(daysSince1970: first) + 7) % 7
        let last = first + CivilDate.days(inMonth: month, of: year) - 1
        let day = first + ahead + (week - 1) * 7
        return day > last ? day - 7 : day
      }
    }
  }

  struct Change: Sendable, Hashable {
    var day: Day
    /// Seconds after the midnight that the day begins with, by the clock ahead of the change.
    var secondOfDay: Int
  }

  struct DaylightSaving: Sendable, Hashable {
    var offsetSeconds: Int
    var start: Change
    var end: Change
  }

  var standardOffsetSeconds: Int
  var daylightSaving: DaylightSaving?

  /// The changes of the year before, the year of, and the year after a moment, in order of time,
  /// each to another offset than the one before it.
  func transitions(around moment: Int) -> [TimeZoneRules.Transition] {
    guard let daylightSaving else { return [] }
    let year = CivilDate(daysSince1970: WallClock(seconds: moment).daysSince1970).year
    var all: [TimeZoneRules.Transition] = []
    for year in (year - 1)...(year + 1) {
      func moment(_ change: Change, offsetSeconds: Int) -> Int {
        change.day.daysSince1970(in: year) * WallClock.secondsPerDay + change.secondOfDay
          - offsetSeconds
      }
      all.append(
        .init(
          moment: moment(daylightSaving.start, offsetSeconds: standardOffsetSeconds),
          offsetSeconds: daylightSaving.offsetSeconds))
      all.append(
        .init(
          moment: moment(daylightSaving.end, offsetSeconds: daylightSaving.offsetSeconds),
          offsetSeconds: standardOffsetSeconds))
    }
    all.sort { ($0.moment, $0.offsetSeconds) < ($1.moment, $1.offsetSeconds) }
    var changes: [TimeZoneRules.Transition] = []
    for (index, transition) in all.enumerated() {
      // Daylight saving time that lasts all year ends when it begins.
      if index + 1 < all.count, all[index + 1].moment == transition.moment { continue }
      if changes.last?.offsetSeconds == transition.offsetSeconds { continue }
      changes.append(transition)
    }
    return changes
  }
}

extension PosixTimeZoneRule {
  /// Reads `EET-2EEST,M3.5.0/3,M10.5.0/4` for example; nil for what is none.
  init?(_ text: some StringProtocol) {
    var reader = Reader(rest: Substring(text).utf8[...])
    guard reader.skipName(), let standard = reader.time(hours: 24) else { return nil }
    standardOffsetSeconds = -standard
    guard !reader.rest.isEmpty else { return }
    guard reader.skipName() else { return nil }
    var offsetSeconds = standardOffsetSeconds + 3_600
    if reader.rest.first != UInt8(ascii: ",") {
      guard let daylight = reader.time(hours: 24) else { return nil }
      offsetSeconds = -daylight
    }
    guard let start = reader.change(), let end = reader.change(), reader.rest.isEmpty else {
      return nil
    }
    daylightSaving = DaylightSaving(offsetSeconds: offsetSeconds, start: start, end: end)
  }

  private struct Reader {
    var rest: Substring.UTF8View

    mutating func skip(_ byte: Unicode.Scalar) -> Bool {
      guard rest.first == UInt8(ascii: byte) else { return false }
      rest.removeFirst()
      return true
    }

    /// `EET`, or `<+0330>`.
    mutating func skipName() -> Bool {
      if skip("<") {
        guard let end = rest.firstIndex(of: UInt8(ascii: ">")), end != rest.startIndex else {
          return false
        }
        rest = rest[rest.index(after: end)...]
        return true
      }
      let name = rest.prefix {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
      }
      rest = rest[name.endIndex...]
      return name.count >= 3
    }

    mutating func number(_ range: ClosedRange<Int>) -> Int? {
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard (1...3).contains(digits.count) else { return nil }
      rest = rest[digits.endIndex...]
      let value = digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
      return range.contains(value) ? value : nil
    }

    /// `[+-]hh[:mm[:ss]]`, as seconds.
    mutating func time(hours maximum: Int) -> Int? {
      let isNegative = skip("-")
      if !isNegative { _ = skip("+") }
      guard let hours = number(0...maximum) else { return nil }
      var seconds = hours * 3_600
      for unit in [60, 1] where skip(":") {
        guard let value = number(0...59) else { return nil }
        seconds += value * unit
      }
      return isNegative ? -seconds : seconds
    }

    /// `,date[/time]`; without a time it is 2 o'clock.
    mutating func change() -> Change? {
      guard skip(","), let day = day() else { return nil }
      guard skip("/") else { return Change(day: day, secondOfDay: 2 * 3_600) }
      guard let time = time(hours: 167) else { return nil }
      return Change(day: day, secondOfDay: time)
    }

    private mutating func day() -> Day? {
      if skip("J") { return number(1...365).map(Day.julian) }
      guard skip("M") else { return number(0...365).map(Day.ordinal) }
      guard let month = number(1...12), skip("."), let week = number(1...5), skip("."),
        let weekday = number(0...6)
      else { return nil }
      return .weekday(month: month, week: week, weekday: weekday)
    }
  }
}
