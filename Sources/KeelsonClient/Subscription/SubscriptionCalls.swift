import KeelsonCore
import Synchronization

/// The calls of one subscription as its reader, the watch for silence and the client's shutdown see
/// them.
///
/// Lock order: no other lock is taken, and nothing called, while this one's is held.
package final class SubscriptionCalls: Sendable {
  /// What a message says that is sent when there is nothing else to say.
  package struct Heartbeat: Sendable {
    /// How long until the next one at the latest; nil: not said.
    var interval: Duration?

    package init(interval: Duration?) {
      self.interval = interval
    }
  }

  private struct State {
    var machine: SubscriptionStateMachine
    /// Whether the reader waits for a message: while it is busy elsewhere, silence is its own.
    var isListening = false
    /// Cancels the call under way.
    var cancel: (@Sendable () -> Void)?
    /// Cancels the wait for the next call.
    var pause: Task<Void, any Error>?
  }

  private let state: Mutex<State>

  /// - Parameter what: is subscribed to, for errors: `events` for example.
  init(_ what: String, policy: SubscriptionPolicy) {
    state = Mutex(State(machine: SubscriptionStateMachine(what, policy: policy)))
  }

  /// A server that says nothing for this long is given up.
  var silenceLimit: Duration { state.withLock { $0.machine.silenceLimit } }

  func next() -> SubscriptionStateMachine.Step {
    state.withLock { $0.machine.next(at: .now) }
  }

  /// Waits between two calls; a client that shuts down ends the wait.
  func wait(until instant: ContinuousClock.Instant) async throws {
    let pause = Task { try await Task.sleep(until: instant, clock: .continuous) }
    let hasEnded = state.withLock { state in
      state.pause = pause
      return state.machine.hasEnded
    }
    if hasEnded { pause.cancel() }
    await withTaskCancellationHandler {
      _ = await pause.result
    } onCancel: {
      pause.cancel()
    }
    try Task.checkCancellation()
  }

  /// Says how to cancel the call that has begun.
  func attach(_ cancel: @escaping @Sendable () -> Void) {
    let hasEnded = state.withLock { state in
      state.cancel = cancel
      return state.machine.hasEnded
    }
    if hasEnded { cancel() }
  }

  /// The reader waits for a message from now on.
  func listen() {
    state.withLock { state in
      state.isListening = true
      state.machine.listens(at: .now)
    }
  }

  /// A message has come.
  ///
  /// - Parameter heartbeat: what it says as a heartbeat; nil: it is none.
  func heard(heartbeat: Heartbeat?) {
    state.withLock { state in
      state.isListening = false
      state.machine.heard(at: .now)
      if let heartbeat { state.machine.heardHeartbeat(interval: heartbeat.interval) }
    }
  }

  /// The call has ended.
  ///
  /// - Returns: why another one begins; nil when none does.
  /// - Throws: the failure, when trying again does not cure it.
  func end(with failure: RPCError?) throws -> RPCError? {
    let (fatal, passing) = state.withLock { state -> (RPCError?, RPCError?) in
      state.isListening = false
      state.cancel = nil
      var random = SystemRandomNumberGenerator()
      state.machine.callEnded(with: failure, at: .now, using: &random)
      guard !state.machine.hasEnded else { return (nil, nil) }
      guard let failure else { return (nil, state.machine.error) }
      let isFinal =
        state.machine.policy.isRefusal(failure.code)
        || [.outOfRange, .dataLoss].contains(failure.code)
      if isFinal { state.machine.end() }
      return isFinal ? (failure, nil) : (nil, state.machine.error)
    }
    if let fatal { throw fatal }
    return passing
  }

  /// Cancels the call once the server has been silent for too long; to be cancelled with it.
  func watchSilence() async {
    while !Task.isCancelled {
      // A busy reader hears nothing; the time counts from when it listens again.
      let wake = state.withLock { state in
        state.machine.silenceDeadline.map { deadline in
          state.isListening ? deadline : .now + state.machine.silenceLimit
        }
      }
      guard let wake else { return }
      guard (try? await Task.sleep(until: wake, clock: .continuous)) != nil else { return }
      let cancel = state.withLock { state -> (@Sendable () -> Void)? in
        guard state.isListening, state.machine.checkSilence(at: .now) else { return nil }
        return state.cancel
      }
      cancel?()
    }
  }

  /// Ends the subscription: the client shuts down, or nobody reads any more.
  func close() {
    let (cancel, pause) = state.withLock { state in
      state.machine.end()
      return (state.cancel, state.pause)
    }
    cancel?()
    pause?.cancel()
  }
}

/// The subscriptions of a client that are read call by call, to be ended with it.
final class SubscriptionRegistry: Sendable {
  private struct State {
    var calls: [ObjectIdentifier: SubscriptionCalls] = [:]
    var isClosed = false
  }

  private let state = Mutex(State())

  func add(_ calls: SubscriptionCalls) {
    let isClosed = state.withLock { state in
      if !state.isClosed { state.calls[ObjectIdentifier(calls)] = calls }
      return state.isClosed
    }
    if isClosed { calls.close() }
  }

  func remove(_ calls: SubscriptionCalls) {
    _ = state.withLock { $0.calls.removeValue(forKey: ObjectIdentifier(calls)) }
  }

  /// Ends them all, and those that come later.
  func close() {
    let calls = state.withLock { state in
      state.isClosed = true
      defer { state.calls = [:] }
      return Array(state.calls.values)
    }
    for calls in calls { calls.close() }
  }
}
