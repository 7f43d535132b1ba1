import KeelsonCore

/// The life of a subscription, without I/O and without a clock of its own: one streaming call
/// after the other, each going on where the one before it ended. What the messages mean is left
/// to whoever subscribes (``FlagSubscriptionStateMachine`` for example).
///
/// ``next(at:)`` says what to do; what comes of it is told with ``heard(at:)`` and
/// ``callEnded(with:at:using:)``.
struct SubscriptionStateMachine: Sendable {
  private enum Phase: Sendable {
    /// Nothing under way. Can transition to: calling, ended.
    case idle
    /// A call has begun; `lastWord` counts from its start until the first message comes.
    /// Can transition to: waiting, ended.
    case calling(Call)
    /// Can transition to: calling, ended.
    case waiting(until: ContinuousClock.Instant)
    /// Final.
    case ended
  }

  private struct Call: Sendable {
    /// Whether it waits for a connection, so that silence may be nobody's fault.
    var waitsForReady: Bool
    var lastWord: ContinuousClock.Instant
    /// When the first message came.
    var liveSince: ContinuousClock.Instant?
    var wasSilent = false
  }

  /// What to do next.
  enum Step: Sendable, Equatable {
    /// Begin a call.
    case call(waitForReady: Bool)
    /// Ask again at that time.
    case wait(until: ContinuousClock.Instant)
    /// Nothing more.
    case end
  }

  let policy: SubscriptionPolicy
  /// What is subscribed to, for errors: `flag changes` for example.
  private let what: String
  private var phase = Phase.idle
  private(set) var lastWord: ContinuousClock.Instant?
  private(set) var heartbeatInterval: Duration
  private(set) var heartbeats = 0
  private(set) var attempts = 0
  private(set) var error: RPCError?
  /// Whether the last failure was one that waiting alone does not cure.
  private(set) var isRefused = false
  /// How many calls in a row have failed.
  private var failures = 0
  private var waitsForReady = false

  init(_ what: String, policy: SubscriptionPolicy) {
    self.what = what
    self.policy = policy
    heartbeatInterval = policy.assumedHeartbeatInterval
  }

  /// A server that says nothing for this long is given up.
  var silenceLimit: Duration { heartbeatInterval * policy.silentIntervals }

  // MARK: Steps

  mutating func next(at now: ContinuousClock.Instant) -> Step {
    switch phase {
    case .ended: return .end
    case .waiting(let until) where now < until: return .wait(until: until)
    case .calling(let call): return .wait(until: call.lastWord + silenceLimit)
    case .idle, .waiting:
      phase = .calling(Call(waitsForReady: waitsForReady, lastWord: now))
      attempts += 1
      return .call(waitForReady: waitsForReady)
    }
  }

  /// When the call under way has to be looked at for silence; nil without a call.
  var silenceDeadline: ContinuousClock.Instant? {
    guard case .calling(let call) = phase, !call.wasSilent else { return nil }
    return call.lastWord + silenceLimit
  }

  /// Whether the call under way has been silent for too long and is to be cancelled.
  mutating func checkSilence(at now: ContinuousClock.Instant) -> Bool {
    guard case .calling(var call) = phase, !call.wasSilent, now >= call.lastWord + silenceLimit
    else { return false }
    call.wasSilent = true
    phase = .calling(call)
    return true
  }

  /// The client shuts down.
  mutating func end() {
    phase = .ended
  }

  // MARK: Messages

  /// Whether a message that came now would be taken, and whether it is the first of its call.
  /// After silence or the end, one comes too late: the next call fetches it again.
  var hears: (Bool, isFirst: Bool) {
    guard case .calling(let call) = phase, !call.wasSilent else { return (false, false) }
    return (true, call.liveSince == nil)
  }

  /// The reader waits for a message from now on: what it did before is not the server's silence.
  mutating func listens(at now: ContinuousClock.Instant) {
    guard case .calling(var call) = phase, !call.wasSilent else { return }
    call.lastWord = now
    phase = .calling(call)
  }

  /// A message came.
  mutating func heard(at now: ContinuousClock.Instant) {
    guard case .calling(var call) = phase, !call.wasSilent else { return }
    call.lastWord = now
    if call.liveSince == nil { call.liveSince = now }
    phase = .calling(call)
    lastWord = now
    error = nil
    isRefused = false
  }

  /// The message was a heartbeat that told how often to expect one.
  mutating func heardHeartbeat(interval: Duration?) {
    heartbeats += 1
    guard let interval else { return }
    let bounds = policy.heartbeatIntervals
    heartbeatInterval = min(max(interval, bounds.lowerBound), bounds.upperBound)
  }

  // MARK: Ends

  /// The call has ended; nil: with OK, which a stream of this kind never should.
  mutating func callEnded(
    with failure: RPCError?, at now: ContinuousClock.Instant,
    using random: inout some RandomNumberGenerator
  ) {
    guard case .calling(let call) = phase else { return }
    let failure = described(failure, of: call)
    if let liveSince = call.liveSince, liveSince.duration(to: now) >= policy.stableAfter {
      failures = 0
    }
    // While it waited for a connection in vain, what the last attempt said is more to the point.
    if !(call.wasSilent && call.liveSince == nil && call.waitsForReady && error != nil) {
      error = failure
    }
    isRefused = policy.isRefusal(failure.code)
    // Fail fast to learn why, then wait for the connection, in turns.
    waitsForReady = failure.code == .unavailable && !call.waitsForReady

    var wait = policy.backoff.interval(afterFailures: failures, using: &random)
    if isRefused { wait = max(wait, policy.refusalInterval) }
    for case .retryInfo(let delay) in failure.details {
      wait = max(wait, min(delay, policy.refusalInterval) + wait)
    }
    failures += 1
    phase = .waiting(until: now + wait)
  }

  private func described(_ failure: RPCError?, of call: Call) -> RPCError {
    if call.wasSilent {
      return RPCError(
        .unavailable, "The server has said nothing for \(silenceLimit), and was given up.")
    }
    return failure ?? RPCError(.unavailable, "The server ended the stream of \(what).")
  }

  // MARK: Status

  var hasEnded: Bool {
    if case .ended = phase { return true }
    return false
  }

  /// Whether a call runs on which the server was heard lately. A stream that has been silent for
  /// too long is not live even before it is given up: a process that was stopped for a while sees
  /// it at once.
  func isLive(at now: ContinuousClock.Instant) -> Bool {
    guard case .calling(let call) = phase, call.liveSince != nil, !call.wasSilent else {
      return false
    }
    return now < call.lastWord + silenceLimit
  }
}
