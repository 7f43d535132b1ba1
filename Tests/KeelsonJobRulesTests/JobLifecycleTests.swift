import KeelsonCore
import KeelsonJobRules
import KeelsonTestKit
import Testing

@Suite struct JobLifecycleTests {
  typealias Refusal = JobLifecycle.Refusal

  private let start = UnixTime(microseconds: 1_800_000_000_000_000)

  private func job(maximumRetries: Int = 3, after delay: Duration = .zero) -> JobLifecycle {
    var policy = RetryPolicy()
    policy.maximumRetries = maximumRetries
    return JobLifecycle(runTime: start + delay, retryPolicy: policy, now: start)
  }

  private func claimed(_ job: inout JobLifecycle, at time: UnixTime? = nil) throws -> Int {
    try job.claim(worker: "one", lease: .seconds(30), timeout: nil, now: time ?? start)
  }

  @Test func aJobWaitsForItsTime() throws {
    var job = job(after: .seconds(5))
    #expect(job.state == .scheduled)
    #expect(throws: Refusal.notYet) { try job.becomeDue(now: start + .seconds(4)) }
    #expect(throws: Refusal.wrongState(.scheduled)) { try claimed(&job) }
    try job.becomeDue(now: start + .seconds(5))
    #expect(job.state == .pending)
  }

  @Test func whatSucceedsIsCompleted() throws {
    var job = job()
    let token = try claimed(&job)
    try job.complete(token: token)
    #expect(job.state == .completed && job.attempt == 1 && job.lease == nil)
    #expect(throws: Refusal.staleToken(current: 1)) { try job.complete(token: token) }
  }

  @Test func whatFailsIsRetriedAsOftenAsAllowedAndKept() throws {
    var job = job(maximumRetries: 2)
    var now = start
    var delays: [Duration] = []
    for attempt in 1...3 {
      let token = try claimed(&job, at: now)
      #expect(token == attempt)
      try job.fail(token: token, .error, chance: 0.5, now: now)
      guard job.state == .scheduled else { break }
      delays.append(.microseconds(job.runTime.microseconds - now.microseconds))
      now = job.runTime
      try job.becomeDue(now: now)
    }
    #expect(job.state == .failed && job.attempt == 3)
    #expect(delays == [.seconds(1), .seconds(2)])
  }

  @Test func aPermanentFailureIsNotRetried() throws {
    var job = job()
    try job.fail(token: try claimed(&job), .permanent, chance: 0.5, now: start)
    #expect(job.state == .failed && job.attempt == 1)
  }

  @Test func aLateResultWithAnOldTokenIsRefused() throws {
    var job = job()
    let old = try claimed(&job)
    #expect(throws: Refusal.notYet) { try job.expire(chance: 0.5, now: start + .seconds(29)) }
    try job.expire(chance: 0.5, now: start + .seconds(30))
    #expect(throws: Refusal.staleToken(current: 1)) { try job.complete(token: old) }
    try job.becomeDue(now: job.runTime)
    let new = try claimed(&job, at: job.runTime)
    #expect(new > old)
    #expect(throws: Refusal.staleToken(current: new)) { try job.complete(token: old) }
    #expect(throws: Refusal.staleToken(current: new)) {
      try job.prolong(token: old, lease: .seconds(30), now: job.runTime)
    }
    try job.complete(token: new)
  }

  @Test func heartbeatsProlongTheLeaseButNotPastTheTimeLimit() throws {
    var job = job()
    let token = try job.claim(
      worker: "one", lease: .seconds(30), timeout: .seconds(40), now: start)
    try job.prolong(token: token, lease: .seconds(30), now: start + .seconds(5))
    #expect(job.lease?.expireTime == start + .seconds(35))
    try job.prolong(token: token, lease: .seconds(30), now: start + .seconds(20))
    #expect(job.lease?.expireTime == start + .seconds(40))
    var short = self.job()
    _ = try short.claim(worker: "one", lease: .seconds(30), timeout: .seconds(3), now: start)
    #expect(short.lease?.expireTime == start + .seconds(3))
  }

  @Test func whatIsCalledOffEndsAtOnceOrAfterItsGraceTime() throws {
    var waiting = job(after: .seconds(60))
    try waiting.cancel(grace: .seconds(10), now: start)
    #expect(waiting.state == .cancelled)
    #expect(throws: Refusal.alreadyEnded(.cancelled)) {
      try waiting.cancel(grace: .seconds(10), now: start)
    }

    var running = job()
    let token = try claimed(&running)
    #expect(throws: Refusal.wrongState(.running)) {
      try running.confirmCancellation(token: token)
    }
    try running.cancel(grace: .seconds(10), now: start)
    #expect(running.state == .running)
    try running.cancel(grace: .seconds(99), now: start + .seconds(1))
    try running.prolong(token: token, lease: .seconds(30), now: start + .seconds(9))
    #expect(running.lease?.expireTime == start + .seconds(10))
    try running.expire(chance: 0.5, now: start + .seconds(10))
    #expect(running.state == .cancelled)
  }

  @Test func aWorkerMayBreakOffOrFinishWhatWasCalledOff() throws {
    var brokenOff = job()
    var token = try claimed(&brokenOff)
    try brokenOff.cancel(grace: .seconds(10), now: start)
    try brokenOff.confirmCancellation(token: token)
    #expect(brokenOff.state == .cancelled)

    var failed = job()
    token = try claimed(&failed)
    try failed.cancel(grace: .seconds(10), now: start)
    try failed.fail(token: token, .error, chance: 0.5, now: start)
    #expect(failed.state == .cancelled)

    var finished = job()
    token = try claimed(&finished)
    try finished.cancel(grace: .seconds(10), now: start)
    try finished.complete(token: token)
    #expect(finished.state == .completed)
  }

  @Test func handingBackUsesUpNoRetryUntilItIsTooOften() throws {
    var job = job(maximumRetries: 0)
    for _ in 0..<JobLifecycle.freeHandBacks {
      try job.handBack(token: try claimed(&job), chance: 0.5, now: start)
      #expect(job.state == .pending)
    }
    try job.handBack(token: try claimed(&job), chance: 0.5, now: start)
    #expect(job.state == .failed)
    #expect(job.attempt == JobLifecycle.freeHandBacks + 1)
  }

  @Test func whatHasEndedCanRunAgainWithNewTokens() throws {
    var job = job(maximumRetries: 0)
    #expect(throws: Refusal.wrongState(.pending)) { try job.retry(now: start) }
    let old = try claimed(&job)
    try job.fail(token: old, .error, chance: 0.5, now: start)
    try job.retry(now: start)
    #expect(try claimed(&job) == old + 1)
    try job.fail(token: old + 1, .error, chance: 0.5, now: start)
    #expect(job.state == .failed)
  }

  @Test func delaysGrowToTheirLimitAndScatter() {
    var policy = RetryPolicy()
    policy.initialDelay = .milliseconds(100)
    policy.maximumDelay = .seconds(1)
    policy.jitter = 0.5
    let delays = (1...6).map { policy.delay(beforeRetry: $0, chance: 0.5) / .milliseconds(1) }
    #expect(delays == [100, 200, 400, 800, 1_000, 1_000])
    #expect(policy.delay(beforeRetry: 1, chance: 0) == .milliseconds(50))
    #expect(policy.delay(beforeRetry: .max, chance: 1) == .milliseconds(1_500))
    policy.multiplier = 1
    #expect(policy.delay(beforeRetry: .max, chance: 0.5) == .milliseconds(100))
  }

  @Test func timesEndWhereTheyCannotBeTold() {
    #expect(UnixTime(microseconds: .max) + .microseconds(1) == UnixTime(microseconds: .max))
    #expect(start + .seconds(Int64.max) == UnixTime(microseconds: .max))
    #expect(start + .seconds(Int64.min) == UnixTime(microseconds: .min))
    #expect(start + .milliseconds(-1_500) == UnixTime(microseconds: start.microseconds - 1_500_000))
  }

  /// Random operations, with random tokens, at random times: what must hold whatever happens.
  @Test(arguments: 0..<200)
  func anyOrderOfOperationsKeepsWhatIsPromised(seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    var job = job(maximumRetries: Int.random(in: 0...3, using: &random))
    var now = start
    var completions = 0
    for _ in 0..<300 {
      let before = job
      now = now + .milliseconds(Int.random(in: 0...20_000, using: &random))
      let token = job.attempt - (Int.random(in: 0...3, using: &random) == 0 ? 1 : 0)
      let chance = Double.random(in: 0...1, using: &random)
      do {
        switch Int.random(in: 0..<9, using: &random) {
        case 0: try job.becomeDue(now: now)
        case 1:
          #expect(
            try job.claim(worker: "w", lease: .seconds(15), timeout: .seconds(60), now: now)
              == before.attempt + 1)
        case 2: try job.prolong(token: token, lease: .seconds(15), now: now)
        case 3:
          try job.complete(token: token)
          completions += 1
        case 4: try job.fail(token: token, .error, chance: chance, now: now)
        case 5: try job.handBack(token: token, chance: chance, now: now)
        case 6: try job.expire(chance: chance, now: now)
        case 7: try job.cancel(grace: .seconds(5), now: now)
        default:
          if Int.random(in: 0...5, using: &random) == 0 { try job.retry(now: now) }
        }
      } catch {
        // Refused: nothing has happened.
        #expect(job == before)
      }
      #expect((job.lease != nil) == (job.state == .running))
      #expect(job.attempt == before.attempt || job.attempt == before.attempt + 1)
      #expect(job.attempt <= job.allowedAttempts)
      if job.attempt > before.attempt {
        #expect(before.state == .pending && job.state == .running)
      }
      if job.state == .completed, before.state != .completed {
        #expect(before.state == .running && token == before.attempt)
      }
      if let lease = job.lease, let deadline = lease.deadline {
        #expect(lease.expireTime <= deadline)
      }
    }
    #expect(completions <= job.attempt)
  }
}
