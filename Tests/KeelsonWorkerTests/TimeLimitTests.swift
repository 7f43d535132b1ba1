import Testing

@testable import KeelsonWorker

@Suite struct TimeLimitTests {
  @Test func withoutATimeoutOfTheJobNothingIsTakenAway() {
    let limit = TimeLimit(work: .seconds(3_600), grace: .seconds(10), job: nil)
    #expect(limit.work == .seconds(3_600) && limit.grace == .seconds(10) && !limit.isJobs)
  }

  @Test func aLongTimeoutLeavesTheWorkItsOwn() {
    let limit = TimeLimit(work: .seconds(30), grace: .seconds(10), job: .seconds(60))
    #expect(limit.work == .seconds(30) && limit.grace == .seconds(10) && !limit.isJobs)
  }

  @Test func theGraceIsWithinTheTimeoutOfTheJob() {
    let limit = TimeLimit(work: .seconds(3_600), grace: .seconds(10), job: .seconds(60))
    #expect(limit.work == .seconds(49) && limit.grace == .seconds(10) && limit.isJobs)
    // Most of a short one is for the work.
    let short = TimeLimit(work: .seconds(3_600), grace: .seconds(10), job: .seconds(4))
    #expect(short.work == .milliseconds(2_600) && short.grace == .seconds(1) && short.isJobs)
    // What the work leaves is the grace's.
    let long = TimeLimit(work: .seconds(40), grace: .seconds(3_600), job: .seconds(60))
    #expect(long.work == .seconds(40) && long.grace == .seconds(19) && !long.isJobs)
  }

  @Test func theEndIsBeforeTheTimeoutOfTheJob() {
    for job: Duration in [.milliseconds(1), .milliseconds(100), .seconds(1), .seconds(604_800)] {
      for grace: Duration in [.zero, .milliseconds(10), .seconds(3_600)] {
        let limit = TimeLimit(work: .seconds(604_800), grace: grace, job: job)
        #expect(limit.work > .zero && limit.work + limit.grace < job && limit.isJobs)
      }
    }
  }
}
