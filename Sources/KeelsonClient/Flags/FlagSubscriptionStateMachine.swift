import KeelsonAPI
import KeelsonCore
import KeelsonFlagRules

/// A flag subscription, without I/O and without a clock of its own: the rules that the messages of
/// its `WatchFlags` calls come to.
///
/// ``next(at:)`` says what to do; what comes of it is told with ``receive(_:at:)`` and
/// ``callEnded(with:at:using:)``.
struct FlagSubscriptionStateMachine: Sendable {
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

  private var calls: SubscriptionStateMachine
  /// The rules as of ``revision``; nil before the first snapshot.
  private(set) var rules: FlagRuleSet?
  /// Everything up to and including this revision is in the rules.
  private(set) var revision: Int64 = 0
  private var mayResume = true

  init(policy: SubscriptionPolicy) {
    calls = SubscriptionStateMachine("flag changes", policy: policy)
  }

  var error: RPCError? { calls.error }
  var heartbeatInterval: Duration { calls.heartbeatInterval }

  /// A server that says nothing for this long is given up.
  var silenceLimit: Duration { calls.silenceLimit }

  // MARK: Steps

  mutating func next(at now: ContinuousClock.Instant) -> Step {
    switch calls.next(at: now) {
    case .end: .end
    case .wait(let until): .wait(until: until)
    case .call(let waitForReady):
      .call(
        resumeRevision: mayResume && rules != nil ? revision : 0, waitForReady: waitForReady)
    }
  }

  /// When the call under way has to be looked at for silence; nil without a call.
  var silenceDeadline: ContinuousClock.Instant? { calls.silenceDeadline }

  /// Whether the call under way has been silent for too long and is to be cancelled.
  mutating func checkSilence(at now: ContinuousClock.Instant) -> Bool {
    calls.checkSilence(at: now)
  }

  /// The client shuts down.
  mutating func end() {
    calls.end()
  }

  // MARK: Messages

  mutating func receive(
    _ response: KeelsonFlagsV1.WatchFlagsResponse, at now: ContinuousClock.Instant
  ) -> Reaction {
    let (isTaken, isFirst) = calls.hears
    guard isTaken else { return .none }
    if case .change = response.event, rules == nil || (!mayResume && isFirst) {
      return .abandon(
        RPCError(.internalError, "The server sent a change of flags ahead of their snapshot."))
    }
    calls.heard(at: now)
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
      calls.heardHeartbeat(interval: heartbeat.interval?.clampedDuration)
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
    calls.callEnded(with: failure, at: now, using: &random)
    if let failure, !calls.policy.mayResume(after: failure.code) { mayResume = false }
  }

  // MARK: Status

  /// How the flags stand at a time.
  func status(at now: ContinuousClock.Instant) -> FlagsStatus {
    FlagsStatus(
      state: state(at: now), revision: revision, lastWord: calls.lastWord,
      heartbeatInterval: calls.heartbeatInterval, heartbeats: calls.heartbeats,
      attempts: calls.attempts, error: error)
  }

  private func state(at now: ContinuousClock.Instant) -> FlagsState {
    if calls.hasEnded { return .shutdown }
    guard let lastWord = calls.lastWord, rules != nil else {
      return calls.isRefused ? .refused : .connecting
    }
    return calls.isLive(at: now) ? .current : .stale(since: lastWord)
  }
}
