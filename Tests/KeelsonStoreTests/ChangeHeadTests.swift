import KeelsonCore
import KeelsonStore
import Testing

@Suite struct ChangeHeadTests {
  private func head(auditTime: UnixTime, clock: UnixTime?) throws -> ChangeHead {
    let row = Row(
      columns: RowColumns(["revision", "sequence", "hash", "time", "clock"]),
      values: [7, 3, .blob([]), SQLValue(auditTime), SQLValue(clock)])
    return try ChangeHead.head(row, clock: 4)
  }

  @Test(arguments: [-3_600, 0, 3_600])
  func timeIsThatOfTheDatabasesClock(seconds: Int) throws {
    let lead = Duration.seconds(seconds)
    let before = UnixTime.now
    let head = try head(auditTime: UnixTime(microseconds: 0), clock: before + lead)
    // Between the two readings no more has passed than between the lines here.
    let passed = before.duration(to: .now)
    #expect(head.clockLead <= lead && head.clockLead >= lead - passed)
    #expect(head.nextTime >= before + (lead - passed) && head.nextTime <= UnixTime.now + lead)
  }

  @Test func timeDoesNotGoBehindTheTrail() throws {
    let auditTime = UnixTime.now + .seconds(60)
    #expect(try head(auditTime: auditTime, clock: .now).nextTime == auditTime)
    #expect(try head(auditTime: auditTime, clock: nil).clockLead == .zero)
  }
}
