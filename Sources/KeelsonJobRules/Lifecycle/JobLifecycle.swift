package import KeelsonCore

/// The part of a job that its rules are about: a state machine without I/O. Times are of one clock,
/// the server's or the database's, never a worker's.
///
/// An attempt is counted when a worker gets the job, on every path, and its number is the fencing
/// token of its lease: what a worker says with an older one is refused.
package struct JobLifecycle: Sendable, Hashable {
  /// What a worker holds.
  package struct Lease: Sendable, Hashable {
    package var worker: String
    package var startTime: UnixTime
    /// From then on another may get the job.
    package var expireTime: UnixTime
    /// By then it has to have ended, whatever its heartbeats; nil for no limit.
    package var deadline: UnixTime?
    /// Set when it was called off: the lease ends then at the latest.
    package var cancelTime: UnixTime?

    package init(
      worker: String, startTime: UnixTime, expireTime: UnixTime, deadline: UnixTime? = nil,
      cancelTime: UnixTime? = nil
    ) {
      self.worker = worker
      self.startTime = startTime
      self.expireTime = expireTime
      self.deadline = deadline
      self.cancelTime = cancelTime
    }
  }

  /// Why something does not happen. The job is left as it was.
  package enum Refusal: Error, Sendable, Hashable {
    /// The time has not come.
    case notYet
    /// The job is not in a state in which this can happen.
    case wrongState(JobState)
    /// The lease is another's by now, or has ended.
    case staleToken(current: Int)
    /// It has ended, so it cannot be called off.
    case alreadyEnded(JobState)
  }

  /// How an attempt ended that did not succeed.
  package enum Failure: Sendable, Hashable {
    /// The handler failed; it may do better next time.
    case error
    /// The handler says that it will never do better.
    case permanent
    /// The worker was not heard of, or the time limit was over.
    case leaseEnded
  }

  /// How often a job may be handed back without that being counted against its retries: enough for
  /// restarts of workers, and an end to what makes every worker stop.
  package static let freeHandBacks = 20

  package private(set) var state: JobState
  /// When it may run, or was to.
  package private(set) var runTime: UnixTime
  /// Attempts begun so far; the newest one's fencing token.
  package private(set) var attempt = 0
  /// Attempts that may be begun in all.
  package private(set) var allowedAttempts: Int
  package private(set) var handBacks = 0
  /// While it is running.
  package private(set) var lease: Lease?
  package var retryPolicy: RetryPolicy

  /// A new job, pending when its time has come.
  package init(runTime: UnixTime, retryPolicy: RetryPolicy, now: UnixTime) {
    state = runTime > now ? .scheduled : .pending
    self.runTime = runTime
    self.retryPolicy = retryPolicy
    allowedAttempts = 1 + retryPolicy.maximumRetries
  }

  /// A job as it was stored.
  package init(
    stored state: JobState, runTime: UnixTime, attempt: Int, allowedAttempts: Int, handBacks: Int,
    lease: Lease?, retryPolicy: RetryPolicy
  ) {
    self.state = state
    self.runTime = runTime
    self.attempt = attempt
    self.allowedAttempts = allowedAttempts
    self.handBacks = handBacks
    self.lease = lease
    self.retryPolicy = retryPolicy
  }
}

extension JobLifecycle {
  /// Its time has come: scheduled to pending.
  package mutating func becomeDue(now: UnixTime) throws(Refusal) {
    guard state == .scheduled else { throw .wrongState(state) }
    guard runTime <= now else { throw .notYet }
    state = .pending
  }

  /// A worker gets it: pending to running, one attempt more.
  ///
  /// - Returns: the fencing token.
  package mutating func claim(
    worker: String, lease length: Duration, timeout: Duration?, now: UnixTime
  ) throws(Refusal) -> Int {
    guard state == .pending else { throw .wrongState(state) }
    attempt += 1
    state = .running
    let deadline = timeout.map { now + $0 }
    lease = Lease(
      worker: worker, startTime: now, expireTime: min(now + length, deadline ?? now + length),
      deadline: deadline)
    return attempt
  }

  /// The worker lives: the lease is prolonged, never past its time limit or its grace time.
  package mutating func prolong(
    token: Int, lease length: Duration, now: UnixTime
  ) throws(Refusal) {
    var held = try held(by: token)
    held.expireTime = held.limit.map { min($0, now + length) } ?? now + length
    lease = held
  }

  /// The work is done: running to completed. Good as long as nobody else got the job, also when
  /// the lease has run out meanwhile or the job was called off too late.
  package mutating func complete(token: Int) throws(Refusal) {
    _ = try held(by: token)
    end(.completed)
  }

  /// The attempt failed: running to scheduled while attempts are left, to cancelled when it was
  /// called off, or else to failed.
  ///
  /// - Parameter chance: see ``RetryPolicy/delay(beforeRetry:chance:)``.
  package mutating func fail(
    token: Int, _ failure: Failure, chance: Double, now: UnixTime
  ) throws(Refusal) {
    let held = try held(by: token)
    guard held.cancelTime == nil else { return end(.cancelled) }
    guard failure != .permanent, attempt < allowedAttempts else { return end(.failed) }
    lease = nil
    state = .scheduled
    let retry = retryPolicy.maximumRetries - (allowedAttempts - attempt) + 1
    runTime = now + retryPolicy.delay(beforeRetry: max(1, retry), chance: chance)
  }

  /// A retry that waits is put off, or brought forward, to a time that its handler has asked for.
  package mutating func postpone(to time: UnixTime) {
    if state == .scheduled { runTime = time }
  }

  /// The worker stops and gives it back, not begun or broken off: running to pending at once. Up to
  /// ``freeHandBacks`` times that uses up no retry.
  package mutating func handBack(token: Int, chance: Double, now: UnixTime) throws(Refusal) {
    let held = try held(by: token)
    guard held.cancelTime == nil else { return end(.cancelled) }
    guard handBacks < Self.freeHandBacks else {
      return try fail(token: token, .error, chance: chance, now: now)
    }
    handBacks += 1
    allowedAttempts += 1
    lease = nil
    state = .pending
  }

  /// The worker says that it has broken off what was called off: running to cancelled.
  package mutating func confirmCancellation(token: Int) throws(Refusal) {
    guard try held(by: token).cancelTime != nil else { throw .wrongState(state) }
    end(.cancelled)
  }

  /// Its lease has run out: as a failed attempt.
  package mutating func expire(chance: Double, now: UnixTime) throws(Refusal) {
    guard state == .running, let lease else { throw .wrongState(state) }
    guard lease.expireTime <= now else { throw .notYet }
    try fail(token: attempt, .leaseEnded, chance: chance, now: now)
  }

  /// It is called off: at once when no worker has it; otherwise the worker is told, and the lease
  /// ends after the grace time at the latest. Calling off twice changes nothing.
  package mutating func cancel(grace: Duration, now: UnixTime) throws(Refusal) {
    switch state {
    case .scheduled, .pending:
      end(.cancelled)
    case .running:
      guard var held = lease, held.cancelTime == nil else { return }
      held.cancelTime = now + grace
      held.expireTime = min(held.expireTime, now + grace)
      lease = held
    case .completed, .failed, .cancelled:
      throw .alreadyEnded(state)
    }
  }

  /// It is to run again after its end, with as many retries as at first.
  package mutating func retry(now: UnixTime) throws(Refusal) {
    guard state.hasEnded else { throw .wrongState(state) }
    state = .pending
    runTime = now
    handBacks = 0
    allowedAttempts = attempt + 1 + retryPolicy.maximumRetries
  }

  private func held(by token: Int) throws(Refusal) -> Lease {
    guard state == .running, let lease, token == attempt else {
      throw .staleToken(current: attempt)
    }
    return lease
  }

  private mutating func end(_ state: JobState) {
    self.state = state
    lease = nil
  }
}

extension JobLifecycle.Lease {
  /// When it ends whatever its heartbeats.
  var limit: UnixTime? {
    switch (deadline, cancelTime) {
    case (let deadline?, let cancelTime?): min(deadline, cancelTime)
    case (let one, let other): one ?? other
    }
  }
}
