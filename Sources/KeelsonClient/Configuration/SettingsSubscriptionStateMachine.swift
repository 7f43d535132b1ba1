import KeelsonAPI
import KeelsonCore

/// A subscription to settings, without I/O and without a clock of its own: the settings that the
/// messages of its `WatchSettings` calls come to.
///
/// ``next(at:)`` says what to do; what comes of it is told with ``receive(_:at:)`` and
/// ``callEnded(with:at:using:)``.
struct SettingsSubscriptionStateMachine: Sendable {
  /// What to do next.
  enum Step: Sendable, Equatable {
    /// Begin a `WatchSettings` call.
    case call(resumeRevision: Int64, resumeLayers: String, waitForReady: Bool)
    /// Ask again at that time.
    case wait(until: ContinuousClock.Instant)
    /// Nothing more.
    case end
  }

  /// What a message leads to.
  enum Reaction: Sendable, Equatable {
    /// The status has moved on, the settings are as they were.
    case none
    /// There are new settings; the change says which differ, nil when none does.
    case settings(SettingsChange?)
    /// The server broke the protocol: end the call with this error.
    case abandon(RPCError)
  }

  private var calls: SubscriptionStateMachine
  /// The settings; nil before the first snapshot.
  private(set) var snapshot: SettingsSnapshot?
  /// The state of the server's lower layers, as the last message names it.
  private var layers = ""
  private var mayResume = true

  init(policy: SubscriptionPolicy) {
    calls = SubscriptionStateMachine("changes of settings", policy: policy)
  }

  var error: RPCError? { calls.error }

  /// A server that says nothing for this long is given up.
  var silenceLimit: Duration { calls.silenceLimit }

  // MARK: Steps

  mutating func next(at now: ContinuousClock.Instant) -> Step {
    switch calls.next(at: now) {
    case .end: .end
    case .wait(let until): .wait(until: until)
    case .call(let waitForReady):
      .call(
        resumeRevision: mayResume ? snapshot?.revision ?? 0 : 0, resumeLayers: layers,
        waitForReady: waitForReady)
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
    _ response: KeelsonConfigurationV1.WatchSettingsResponse, at now: ContinuousClock.Instant
  ) -> Reaction {
    let (isTaken, isFirst) = calls.hears
    guard isTaken else { return .none }
    if case .change = response.event, snapshot == nil || (!mayResume && isFirst) {
      return .abandon(
        RPCError(.internalError, "The server sent a change of settings ahead of their snapshot."))
    }
    calls.heard(at: now)
    return apply(response)
  }

  private mutating func apply(_ response: KeelsonConfigurationV1.WatchSettingsResponse)
    -> Reaction
  {
    layers = response.layers
    switch response.event {
    case .snapshot(let message):
      let before = snapshot
      // A snapshot may be older than what was here, when the server's data was restored.
      let after = SettingsSnapshot(
        settings: Dictionary(
          message.settings.map { ($0.key, SettingsSnapshot.Setting($0)) },
          uniquingKeysWith: { $1 }), revision: response.revision)
      snapshot = after
      mayResume = true
      let keys = Set(after.settings.keys).union(before?.settings.keys ?? [:].keys)
        .filter { after.settings[$0] != before?.settings[$0] }
      return .settings(
        keys.isEmpty ? nil : SettingsChange(keys: keys, revision: response.revision))
    case .change(let change):
      guard let known = snapshot, response.revision > known.revision else { return .none }
      snapshot?.revision = response.revision
      for setting in change.settings {
        snapshot?.set(SettingsSnapshot.Setting(setting), at: setting.key)
      }
      for key in change.removedKeys { snapshot?.remove(key) }
      let keys = Set(change.settings.map(\.key)).union(change.removedKeys)
      return .settings(
        keys.isEmpty ? nil : SettingsChange(keys: keys, revision: response.revision))
    case .heartbeat(let heartbeat):
      calls.heardHeartbeat(interval: heartbeat.interval?.clampedDuration)
      note(response.revision)
      return .none
    case nil:
      // Of a kind that a later version of the protocol has: a sign of life.
      note(response.revision)
      return .none
    }
  }

  private mutating func note(_ revision: Int64) {
    guard let known = snapshot else { return }
    snapshot?.revision = max(known.revision, revision)
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

  /// How the settings stand at a time.
  func status(at now: ContinuousClock.Instant) -> SettingsStatus {
    SettingsStatus(
      state: state(at: now), revision: snapshot?.revision ?? 0, lastWord: calls.lastWord,
      heartbeatInterval: calls.heartbeatInterval, attempts: calls.attempts, error: error)
  }

  private func state(at now: ContinuousClock.Instant) -> SettingsStatus.State {
    if calls.hasEnded { return .shutdown }
    guard let lastWord = calls.lastWord, snapshot != nil else {
      return calls.isRefused ? .refused : .connecting
    }
    return calls.isLive(at: now) ? .current : .stale(since: lastWord)
  }
}
