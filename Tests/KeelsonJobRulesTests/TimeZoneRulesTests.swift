import KeelsonCore
import KeelsonJobRules
import Testing

@Suite struct TimeZoneRulesTests {
  @Test func theCalendarIsReadBothWays() {
    #expect(CivilDate(daysSince1970: 0) == CivilDate(year: 1970, month: 1, day: 1))
    #expect(CivilDate(daysSince1970: -1) == CivilDate(year: 1969, month: 12, day: 31))
    #expect(CivilDate(year: 2000, month: 2, day: 29).daysSince1970 == 11_016)
    #expect(CivilDate.weekday(daysSince1970: 0) == 4)
    #expect(CivilDate.weekday(daysSince1970: -5) == 6)
    for day in stride(from: -800_000, through: 3_000_000, by: 97) {
      #expect(CivilDate(daysSince1970: day).daysSince1970 == day)
    }
  }

  @Test func aPeriodHoldsTheMomentsBetweenItsChanges() throws {
    let riga = try ZoneFile.rules(of: "Europe/Riga")
    let change = try ZoneFile.moment("2026-03-29T01:00:00Z")
    #expect(riga.period(at: change - 1).offsetSeconds == 7_200)
    #expect(riga.period(at: change - 1).end == change)
    #expect(riga.period(at: change).start == change)
    #expect(riga.period(at: change).offsetSeconds == 10_800)
    #expect(riga.period(at: change).end == (try ZoneFile.moment("2026-10-25T01:00:00Z")))
  }

  /// Every period begins where the one before it ends, beyond the table too.
  @Test(arguments: ["Europe/Riga", "America/Santiago", "Africa/Casablanca", "Asia/Kolkata"])
  func periodsFollowOneAnother(name: String) throws {
    let zone = try ZoneFile.rules(of: name)
    var period = zone.period(at: try ZoneFile.moment("1900-01-01T00:00:00Z"))
    for _ in 0..<1_000 where period.end != .max {
      let next = zone.period(at: period.end)
      #expect(next.start == period.end)
      #expect(next.end > next.start)
      #expect(zone.period(at: period.end - 1) == period)
      period = next
    }
  }

  @Test func aZoneWithoutChangesHasOnePeriod() {
    let period = TimeZoneRules.utc.period(at: 0)
    #expect(period.start == .min && period.end == .max && period.offsetSeconds == 0)
    #expect(TimeZoneRules.utc.firstMoment(showing: WallClock(seconds: 5)) == 5)
  }

  /// A damaged file is refused or read, and never ends the process.
  @Test func aFileThatIsCutOffIsRefused() throws {
    let bytes = try ZoneFile.bytes(of: "Europe/Riga")
    for length in 0..<bytes.count {
      #expect(throws: TimeZoneRules.InvalidFile.self) {
        try TimeZoneRules(file: Array(bytes.prefix(length)))
      }
    }
  }

  @Test func aDamagedFileDoesNoHarm() throws {
    let bytes = try ZoneFile.bytes(of: "Europe/Riga")
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0xFF
      guard let zone = try? TimeZoneRules(file: damaged) else { continue }
      _ = zone.firstMoment(showing: WallClock(seconds: 1_800_000_000))
      _ = try CronExpression("30 3 * * *").next(after: .init(microseconds: 0), in: zone)
    }
  }

  @Test func otherFilesAreRefused() {
    #expect(throws: TimeZoneRules.InvalidFile.self) {
      try TimeZoneRules(file: Array("This is no time zone file, but a text.\n".utf8))
    }
  }
}
