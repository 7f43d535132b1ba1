import KeelsonCore
import KeelsonJobRules
import Testing

/// The policy for days on which the clock is put forward or back: docs/jobs.md.
@Suite struct CronDaylightSavingTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var expression: String
    var zone: String
    var start: String
    /// Wall clock and offset in hours.
    var times: [String]
    var testDescription: String { "\(expression) in \(zone) after \(start)" }
  }

  @Test(arguments: [
    // Riga skips 3 to 4 o'clock on 29 March 2026 and shows it twice on 25 October.
    Case(
      expression: "30 3 * * *", zone: "Europe/Riga", start: "2026-03-28T00:00:00Z",
      times: ["2026-03-28T03:30:00+2.0", "2026-03-29T04:00:00+3.0", "2026-03-30T03:30:00+3.0"]),
    Case(
      expression: "0,30 3,4 * * *", zone: "Europe/Riga", start: "2026-03-28T23:00:00Z",
      times: ["2026-03-29T04:00:00+3.0", "2026-03-29T04:30:00+3.0", "2026-03-30T03:00:00+3.0"]),
    Case(
      expression: "30 3 * * *", zone: "Europe/Riga", start: "2026-10-24T12:00:00Z",
      times: ["2026-10-25T03:30:00+3.0", "2026-10-26T03:30:00+2.0"]),
    Case(
      expression: "30 * * * *", zone: "Europe/Riga", start: "2026-03-29T00:00:00Z",
      times: ["2026-03-29T02:30:00+2.0", "2026-03-29T04:30:00+3.0"]),
    Case(
      expression: "30 * * * *", zone: "Europe/Riga", start: "2026-10-25T00:00:00Z",
      times: ["2026-10-25T03:30:00+3.0", "2026-10-25T03:30:00+2.0", "2026-10-25T04:30:00+2.0"]),
    Case(
      expression: "*/30 3 * * *", zone: "Europe/Riga", start: "2026-03-28T12:00:00Z",
      times: ["2026-03-30T03:00:00+3.0"]),
    // New York, the other way about: 2 to 3 on 8 March, 1 to 2 on 1 November.
    Case(
      expression: "15 2 * * *", zone: "America/New_York", start: "2026-03-07T12:00:00Z",
      times: ["2026-03-08T03:00:00-4.0", "2026-03-09T02:15:00-4.0"]),
    // From within the second time of the hour, the first is past.
    Case(
      expression: "45 1 * * *", zone: "America/New_York", start: "2026-11-01T06:10:00Z",
      times: ["2026-11-02T01:45:00-5.0"]),
    // Lord Howe moves by half an hour: 2:00 to 2:30 on 4 October, 1:30 to 2:00 twice on 5 April.
    Case(
      expression: "10 2 * * *", zone: "Australia/Lord_Howe", start: "2026-10-03T00:00:00Z",
      times: ["2026-10-04T02:30:00+11.0", "2026-10-05T02:10:00+11.0"]),
    Case(
      expression: "45 1 * * *", zone: "Australia/Lord_Howe", start: "2026-04-04T00:00:00Z",
      times: ["2026-04-05T01:45:00+11.0", "2026-04-06T01:45:00+10.5"]),
    // Santiago and, until 2018, São Paulo skip the midnight itself.
    Case(
      expression: "0 0 * * *", zone: "America/Santiago", start: "2026-09-05T12:00:00Z",
      times: ["2026-09-06T01:00:00-3.0", "2026-09-07T00:00:00-3.0"]),
    Case(
      expression: "0 */12 * * *", zone: "America/Santiago", start: "2026-09-05T12:00:00Z",
      times: ["2026-09-05T12:00:00-4.0", "2026-09-06T12:00:00-3.0"]),
    Case(
      expression: "59 23 17 2 *", zone: "America/Sao_Paulo", start: "2018-02-17T00:00:00Z",
      times: ["2018-02-17T23:59:00-2.0", "2019-02-17T23:59:00-3.0"]),
    // Samoa went without 30 December 2011.
    Case(
      expression: "0 12 30 12 *", zone: "Pacific/Apia", start: "2011-01-01T00:00:00Z",
      times: ["2011-12-31T00:00:00+14.0", "2012-12-30T12:00:00+14.0"]),
    // Far beyond the table of any file, by the rule at its end.
    Case(
      expression: "30 3 * * *", zone: "Europe/Riga", start: "2400-03-25T12:00:00Z",
      times: ["2400-03-26T04:00:00+3.0", "2400-03-27T03:30:00+3.0"]),
  ])
  func aDayOfChange(_ each: Case) throws {
    let expression = try CronExpression(each.expression)
    #expect(
      try expression.occurrences(
        each.times.count, after: each.start, in: each.zone, withOffset: true) == each.times)
  }

  /// Through ten years, from any moment: times ascend, and each agrees with the one before.
  @Test(arguments: ["Europe/Riga", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"])
  func timesAscendAndDoNotDependOnWhereOneStarts(zone name: String) throws {
    let zone = try ZoneFile.rules(of: name)
    for text in ["13 2 * * *", "*/7 * * * *", "30 0,1,2,3 * * SUN", "0 0 0 * * *"] {
      let expression = try CronExpression(text)
      var time = try ZoneFile.time("2010-01-01T00:00:00Z")
      for _ in 0..<2_000 {
        let next = try #require(expression.next(after: time, in: zone))
        #expect(next > time)
        let between = (next.microseconds - time.microseconds) / 2
        #expect(
          expression.next(after: .init(microseconds: time.microseconds + between), in: zone)
            == next)
        time = next
      }
    }
  }
}
