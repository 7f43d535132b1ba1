import KeelsonJobRules
import Testing

@Suite struct CronExpressionTests {
  @Test(arguments: [
    ("60 * * * *", "minute: 60 is not from 0 to 59"),
    ("* 24 * * *", "hour: 24 is not from 0 to 23"),
    ("* * 0 * *", "day of month: 0 is not from 1 to 31"),
    ("* * * 13 *", "month: 13 is not from 1 to 12"),
    ("* * * * 8", "day of week: 8 is not from 0 to 7"),
    ("60 * * * * *", "second: 60 is not from 0 to 59"),
    (
      "* * * FOO *", "month: 'FOO' is neither a number nor a name such as JAN"
    ),
    ("x * * * *", "minute: 'x' is not a number"),
    ("+1 * * * *", "minute: '+1' is not a number"),
    ("1,,2 * * * *", "minute: a number is missing"),
    ("-5 * * * *", "minute: a number is missing"),
    ("*/0 * * * *", "minute: a step is a number from 1, and not '0'"),
    ("*/ * * * *", "minute: a step is a number from 1, and not ''"),
    (
      "* 5-3 * * *",
      "hour: the range '5-3' runs backwards; write it as two, joined by a comma"
    ),
    (
      "* * * * FRI-MON",
      "day of week: the range 'FRI-MON' runs backwards; write it as two, joined by a comma"
    ),
    (
      "7-7/2 * * * *", "minute: '7-7' is one number; write '7', or '7/step' to go on"
    ),
    ("0 0 31 2,4 *", "day of month: none of the months has a day '31'"),
    ("0 0 30 2 *", "day of month: none of the months has a day '30'"),
    ("99 25 * * *", "minute: 99 is not from 0 to 59; hour: 25 is not from 0 to 23"),
  ])
  func whatIsWrongIsNamed(text: String, problem: String) {
    let error = #expect(throws: CronError.self) { try CronExpression(text) }
    #expect(error?.description == problem)
  }

  @Test(arguments: ["", " ", "* * * *", "* * * * * * *", "@reboot", "@daily 5"])
  func whatIsNoExpressionIsRefused(text: String) {
    let error = #expect(throws: CronError.self) { try CronExpression(text) }
    #expect(error?.problems.map(\.field) == [nil])
  }

  @Test func anExpressionWithoutEndIsRefused() {
    let text = Array(repeating: "1", count: 1_000).joined(separator: ",") + " * * * *"
    #expect(throws: CronError.self) { try CronExpression(text) }
  }

  @Test(arguments: [
    ("@hourly", "0 * * * *"), ("@DAILY", "0 0 * * *"), ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * SUN"), ("@monthly", "0 0 1 * *"), ("@yearly", "0 0 1 JAN *"),
    ("@annually", "0 0 1 1 *"), ("0\t0  1 jan *", "0 0 1 1 *"), ("0 0 * * 7", "0 0 * * 0"),
    ("0 0 * * 5-7", "0 0 * * FRI,SAT,SUN"), ("0 0 5 * * *", "0 5 * * *"),
    ("5/20 * * * *", "5,25,45 * * * *"), ("0-59/20 * * * *", "0,20,40 * * * *"),
    ("*/100 * * * *", "0 * * * *"),
  ])
  func twoWaysOfWritingTheSame(one: String, other: String) throws {
    let (first, second) = (try CronExpression(one), try CronExpression(other))
    for start in ["2026-01-01T00:00:00Z", "2026-03-29T00:30:00Z", "2027-12-31T23:59:59Z"] {
      let times = try first.occurrences(5, after: start, in: "UTC")
      #expect(times == (try second.occurrences(5, after: start, in: "UTC")))
    }
  }

  @Test func theDaysOfMonthAndWeekAreJoinedAsInCron() throws {
    // Both restricted: either matches. 13 November 2026 is a Friday.
    #expect(
      try CronExpression("0 0 13 * FRI").occurrences(4, after: "2026-11-01T00:00:00Z", in: "UTC")
        == [
          "2026-11-06T00:00:00", "2026-11-13T00:00:00", "2026-11-20T00:00:00",
          "2026-11-27T00:00:00",
        ])
    // One of them begins with a star: both must match.
    #expect(
      try CronExpression("0 0 */2 * MON").occurrences(3, after: "2026-11-01T00:00:00Z", in: "UTC")
        == ["2026-11-09T00:00:00", "2026-11-23T00:00:00", "2026-12-07T00:00:00"])
  }

  @Test func aLeapDayIsFoundAcrossACenturyWithoutOne() throws {
    let leapDay = try CronExpression("0 0 29 2 *")
    #expect(
      try leapDay.occurrences(2, after: "2096-02-28T00:00:00Z", in: "UTC")
        == ["2096-02-29T00:00:00", "2104-02-29T00:00:00"])
    // 29 February on a Sunday, 40 years apart over 2100.
    #expect(
      try CronExpression("0 0 29 2 */7").occurrences(2, after: "2088-02-28T00:00:00Z", in: "UTC")
        == ["2088-02-29T00:00:00", "2128-02-29T00:00:00"])
  }

  @Test func afterTheLastYearThereIsNone() throws {
    #expect(
      try CronExpression("0 0 1 1 *").occurrences(1, after: "9999-12-31T00:00:00Z", in: "UTC")
        .isEmpty)
    #expect(
      try CronExpression("* * * * *").occurrences(1, after: "9999-12-31T23:59:59Z", in: "UTC")
        .isEmpty)
  }

  @Test func fractionsOfASecondAreRoundedDown() throws {
    let every = try CronExpression("* * * * * *")
    #expect(
      try every.occurrences(1, after: "2026-01-01T00:00:00.999999Z", in: "UTC")
        == ["2026-01-01T00:00:01"])
    #expect(
      try every.occurrences(1, after: "1969-12-31T23:59:58.500000Z", in: "UTC")
        == ["1969-12-31T23:59:59"])
    #expect(
      try every.occurrences(1, after: "2026-01-01T00:00:01Z", in: "UTC")
        == ["2026-01-01T00:00:02"])
  }
}
