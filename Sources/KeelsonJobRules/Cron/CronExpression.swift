/// When a schedule runs: `minute hour day-of-month month day-of-week`, with a field for seconds in
/// front of it or without, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
///
/// Where both days are restricted, either matches; where one of them begins with `*`, both must,
/// as in Vixie's cron. docs/jobs.md has the whole policy.
package struct CronExpression: Sendable, Hashable {
  /// Bytes of an expression at most.
  package static let maximumBytes = 256

  /// Bits of the allowed numbers.
  let seconds: UInt64
  let minutes: UInt64
  let hours: UInt64
  let daysOfMonth: UInt64
  let months: UInt64
  /// Sunday is bit 0 only.
  let daysOfWeek: UInt64
  /// Whether a day has to match both fields of days.
  let needsBothDays: Bool
  /// Whether it follows the wall clock through changes of the offset: the hour or the minute
  /// begins with `*`. Otherwise it runs at fixed times, once for each.
  package let followsWallClock: Bool

  private static let aliases = [
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
  ]

  /// - Throws: ``CronError`` with each field that is wrong.
  package init(_ text: String) throws(CronError) {
    guard text.utf8.count <= Self.maximumBytes else {
      throw .whole(
        "it has \(text.utf8.count) bytes; at most \(Self.maximumBytes) are allowed")
    }
    var fields = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
    if fields.count == 1, fields[0].hasPrefix("@") {
      guard let expression = Self.aliases[fields[0].lowercased()] else {
        throw .whole(
          "'\(fields[0])' is not known; there are "
            + Self.aliases.keys.sorted().joined(separator: ", "))
      }
      fields = expression.split(separator: " ")
    }
    guard fields.count == 5 || fields.count == 6 else {
      throw .whole(
        "it has \(fields.count) fields, and needs five (minute, hour, day of month, month, day of "
          + "week) or six, with seconds in front")
    }
    if fields.count == 5 { fields.insert("0", at: 0) }
    var numbers: [UInt64] = []
    var problems: [CronError.Problem] = []
    for (field, text) in zip(CronField.allCases, fields) {
      do throws(CronError.Problem) {
        numbers.append(try field.numbers(of: text))
      } catch {
        numbers.append(0)
        problems.append(error)
      }
    }
    guard problems.isEmpty else { throw CronError(problems: problems) }
    seconds = numbers[0]
    minutes = numbers[1]
    hours = numbers[2]
    daysOfMonth = numbers[3]
    months = numbers[4]
    daysOfWeek = (numbers[5] | numbers[5] >> 7) & 0x7F
    needsBothDays = fields[3].hasPrefix("*") || fields[5].hasPrefix("*")
    followsWallClock = fields[1].hasPrefix("*") || fields[2].hasPrefix("*")
    guard !needsBothDays || hasDays else {
      throw CronError(problems: [
        .init(field: .dayOfMonth, reason: "none of the months has a day '\(fields[3])'")
      ])
    }
  }

  /// Whether any of the months has any of the days.
  private var hasDays: Bool {
    (1...12).contains { month in
      months & 1 << month != 0
        // Of a leap year.
        && daysOfMonth & ((1 << (CivilDate.days(inMonth: month, of: 2000) + 1)) - 1) != 0
    }
  }
}

extension CronError {
  static func whole(_ reason: String) -> CronError {
    CronError(problems: [Problem(field: nil, reason: reason)])
  }
}
