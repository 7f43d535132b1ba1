import KeelsonAPI
import KeelsonCore
import KeelsonFlagRules

/// The life of a flag subscription, without I/O and without a clock of its own: one `WatchFlags`
/// call after the other, each going on where the one before it ended.
///
/// ``next(at:)`` says what to do; what comes of it is told with ``receive(_:at:)`` and
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
    var start: ContinuousClock.Instant
    /// Whether it waits for a connection, so that silence may be nobody's fault.
    var waitsForReady: Bool
    var lastWord: ContinuousClock.Instant
    /// When the first message came.
    var liveSince: ContinuousClock.Instant?
    var wasSilent = false
  }

  /// What to do next.
  enum Step: Sendable, Equatable {
    /// Begin a `WatchFlags` call.
    case call(resumeRevision: Int64, waitForReady: Bool)
    /// Ask again at that time.
    case wait(until: ContinuousClock.Instant)
    /// Nothing more.
    case end
  }

  /// What a message leads to.
  enum Reaction: Sendable, Equatable {
    /// The status has moved on, the rules are as they were.
    case none
    /// There are new rules; the change says which flags differ, nil when none does.
    case rules(FlagChange?)
    /// The server broke the protocol: end the call with this error.
    case abandon(RPCError)
  }

  let policy: SubscriptionPolicy
  private var phase = Phase.idle
  /// The rules as of ``revision``; nil before the first snapshot.
  private(set) var rules: FlagRuleSet?
  /// Everything up to and including this revision is in the rules.
  private(set) var revision: Int64 = 0
  private(set) var lastWord: ContinuousClock.Instant?
  private(set) var heartbeatInterval: Duration
  private(set) var heartbeats = 0
  private(set) var attempts = 0
  private(set) var error: RPCError?
  /// How many calls in a row have failed.
  private var failures = 0
  private var isRefused = false
  private var mayResume = true
  private var waitsForReady = false

  init(policy: SubscriptionPolicy) {
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
      phase = .calling(Call(start: now, waitsForReady: waitsForReady, lastWord: now))
      attempts += 1
      return .call(
        resumeRevision: mayResume && rules != nil ? revision : 0, waitForReady: waitsForReady)
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

  mutating func receive(
    _ response: KeelsonFlagsV1.WatchFlagsResponse, at now: ContinuousClock.Instant
  ) -> Reaction {
    // After silence or the end, a message comes too late: the next call fetches it again.
    guard case .calling(var call) = phase, !call.wasSilent else { return .none }
    if case .change = response.event, rules == nil || (!mayResume && call.liveSince == nil) {
      return .abandon(
        RPCError(.internalError, "The server sent a change of flags ahead of their snapshot."))
    }
    call.lastWord = now
    if call.liveSince == nil { call.liveSince = now }
    phase = .calling(call)
    lastWord = now
    error = nil
    isRefused = false
    return apply(response)
  }

  private mutating func apply(_ response: KeelsonFlagsV1.WatchFlagsResponse) -> Reaction {
    switch response.event {
    case .snapshot(let snapshot):
      let before = rules
      let after = FlagRuleSet(snapshot, revision: response.revision)
      rules = after
      // A snapshot may be older than what was here, when the server's data was restored.
      revision = response.revision
      mayResume = true
      let keys = after.keys(differingFrom: before)
      return .rules(keys.isEmpty ? nil : FlagChange(keys: keys, revision: revision))
    case .change(let change):
      guard let before = rules, response.revision > revision else { return .none }
      revision = response.revision
      guard let (after, keys) = before.applying(change, revision: revision) else { return .none }
      rules = after
      return .rules(keys.isEmpty ? nil : FlagChange(keys: keys, revision: revision))
    case .heartbeat(let heartbeat):
      heartbeats += 1
      if let interval = heartbeat.interval?.clampedDuration {
        let bounds = policy.heartbeatIntervals
        heartbeatInterval = min(max(interval, bounds.lowerBound), bounds.upperBound)
      }
      if rules != nil { revision = max(revision, response.revision) }
      return .none
    case nil:
      // Of a kind that a later version of the protocol has: a sign of life.
      if rules != nil { revision = max(revision, response.revision) }
      return .none
    }
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
    if !policy.mayResume(after: failure.code) { mayResume = false }
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
    return failure ?? RPCError(.unavailable, "The server ended the stream of flag changes.")
  }

  // MARK: Status

  /// How the flags stand at a time. A stream that has been silent for too long is stale even
  /// before it is given up: a process that was stopped for a while sees it at once.
  func status(at now: ContinuousClock.Instant) -> FlagsStatus {
    FlagsStatus(
      state: state(at: now), revision: revision, lastWord: lastWord,
      heartbeatInterval: heartbeatInterval, heartbeats: heartbeats, attempts: attempts,
      error: error)
  }

  private func state(at now: ContinuousClock.Instant) -> FlagsState {
    if case .ended = phase { return .shutdown }
    guard let lastWord, rules != nil else { return isRefused ? .refused : .connecting }
    if case .calling(let call) = phase, call.liveSince != nil, !call.wasSilent,
      now < call.lastWord + silenceLimit
    {
      return .current
    }
    return .stale(since: lastWord)
  }
}
