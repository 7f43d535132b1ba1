/// When a channel's name is resolved: at first need, again when asked, but not more often than an
/// interval allows, and after failures by back-off. Events come in, whether to begin comes out;
/// there is no I/O and no clock in here.
package struct ResolutionStateMachine {
  package typealias Instant = ContinuousClock.Instant

  private enum State {
    /// Nobody has asked.
    /// Can transition to: resolving.
    case idle
    /// `isOutdated`: somebody knows that the answer under way may be old already.
    /// Can transition to: resting, failed, resolving.
    case resolving(started: Instant, isOutdated: Bool)
    /// Resolved; if asked again, not before `until`.
    /// Can transition to: resolving.
    case resting(until: Instant, isWanted: Bool)
    /// Tried again by itself.
    /// Can transition to: resolving.
    case failed(retryAt: Instant)
  }

  private let interval: Duration
  private let backoff: ConnectionBackoff
  private var random: any RandomNumberGenerator
  private var state = State.idle
  private var failures = 0

  /// - Parameters:
  ///   - interval: from the start of one resolution to the start of the next, at least.
  ///   - backoff: the time between resolutions that fail.
  package init(
    interval: Duration, backoff: ConnectionBackoff, random: any RandomNumberGenerator
  ) {
    self.interval = interval
    self.backoff = backoff
    self.random = random
  }

  /// When ``wake(at:)`` is to be called; nil: not by itself.
  package var wakeUp: Instant? {
    switch state {
    case .resting(let until, isWanted: true): until
    case .failed(let retryAt): retryAt
    case .idle, .resolving, .resting: nil
    }
  }

  /// Somebody needs addresses, or better ones. True: begin to resolve.
  package mutating func request(at now: Instant) -> Bool {
    switch state {
    case .idle: return begin(at: now)
    case .resolving, .failed: return false
    case .resting(let until, _):
      if now >= until { return begin(at: now) }
      state = .resting(until: until, isWanted: true)
      return false
    }
  }

  /// The resolver itself says that there are other addresses: that needs no interval. True: begin
  /// to resolve.
  package mutating func changed(at now: Instant) -> Bool {
    switch state {
    case .idle: return false
    case .resting, .failed: return begin(at: now)
    case .resolving(let started, _):
      state = .resolving(started: started, isOutdated: true)
      return false
    }
  }

  /// The moment of ``wakeUp`` has come. True: begin to resolve.
  package mutating func wake(at now: Instant) -> Bool {
    guard let wakeUp, now >= wakeUp else { return false }
    return begin(at: now)
  }

  /// Addresses have come. True: begin to resolve anew.
  package mutating func succeeded(at now: Instant) -> Bool {
    guard case .resolving(let started, let isOutdated) = state else { return false }
    failures = 0
    if isOutdated { return begin(at: now) }
    state = .resting(until: started.advanced(by: interval), isWanted: false)
    return false
  }

  /// No addresses have come. True: begin to resolve anew.
  package mutating func failed(at now: Instant) -> Bool {
    guard case .resolving(let started, let isOutdated) = state else { return false }
    if isOutdated { return begin(at: now) }
    let pause = backoff.interval(afterFailures: failures, using: &random)
    failures += 1
    state = .failed(retryAt: max(now, started.advanced(by: pause)))
    return false
  }

  private mutating func begin(at now: Instant) -> Bool {
    state = .resolving(started: now, isOutdated: false)
    return true
  }
}
