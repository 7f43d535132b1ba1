package import KeelsonCore

/// What a channel does next: when it connects, where calls go, who waits. Events come in, actions
/// go out; there is no I/O and no clock in here.
///
/// `Call` is whatever identifies a call to the owner. Connections and attempts are known by the
/// numbers that ``Action/connect(attempt:)`` hands out: the attempt that succeeds gives its number
/// to its connection.
package struct ChannelStateMachine<Call> {
  package typealias Instant = ContinuousClock.Instant

  package enum Action {
    /// Begin an attempt to connect; report it with ``connected(attempt:)`` or ``failed(attempt:_:at:)``.
    case connect(attempt: Int)
    /// Give up the attempt; whatever comes of it does not matter any more.
    case abandon(attempt: Int)
    /// Call ``retry()`` at this moment.
    case scheduleRetry(at: Instant)
    /// The moment asked for with `scheduleRetry` is not needed any more.
    case cancelRetry
    /// Begin these calls on the connection.
    case start([Call], connection: Int)
    /// End these calls with the error.
    case fail([Call], RPCError)
    /// Close the connection once its calls have ended.
    case close(connection: Int)
  }

  /// What becomes of a new call.
  package enum Submission {
    /// It begins on this connection.
    case start(connection: Int)
    /// It waits here, until a `start` or `fail` action names it, or ``withdraw(where:)``.
    case wait(Action?)
    case fail(RPCError)
  }

  private enum State {
    /// Nobody has asked for a connection.
    /// Can transition to: connecting, shutdown.
    case idle
    /// Can transition to: ready, transientFailure, shutdown.
    case connecting(attempt: Int, started: Instant)
    /// Can transition to: idle, connecting, shutdown.
    case ready(connection: Int)
    /// Can transition to: connecting, shutdown.
    case transientFailure
    /// Can transition to: nothing.
    case shutdown
  }

  private struct Waiting {
    let call: Call
    let waitForReady: Bool
  }

  private let backoff: ConnectionBackoff
  private var random: any RandomNumberGenerator
  private var state = State.idle
  private var waiting: [Waiting] = []
  private var attempts = 0
  /// Attempts that failed since the last success.
  private var failures = 0
  /// Why the last attempt failed; nil again once one succeeds.
  package private(set) var lastError: RPCError?

  package init(backoff: ConnectionBackoff, random: any RandomNumberGenerator) {
    self.backoff = backoff
    self.random = random
  }

  /// What the channel shows to its users. Once an attempt has failed it stays at
  /// `transientFailure` until one succeeds, as gRPC's pick-first policy does.
  package var connectivity: ConnectivityState {
    switch state {
    case .idle: .idle
    case .connecting: lastError == nil ? .connecting : .transientFailure
    case .ready: .ready
    case .transientFailure: .transientFailure
    case .shutdown: .shutdown
    }
  }

  package var waitingCalls: Int { waiting.count }

  // MARK: Calls

  /// A new call, or one that a connection gave back without the server having seen it.
  package mutating func submit(
    _ call: Call, waitForReady: Bool, at now: @autoclosure () -> Instant
  ) -> Submission {
    switch state {
    case .ready(let connection):
      return .start(connection: connection)
    case .shutdown:
      return .fail(Self.shutDownError)
    case .idle:
      waiting.append(Waiting(call: call, waitForReady: waitForReady))
      return .wait(beginAttempt(at: now()))
    case .connecting, .transientFailure:
      if !waitForReady, let lastError { return .fail(lastError) }
      waiting.append(Waiting(call: call, waitForReady: waitForReady))
      return .wait(nil)
    }
  }

  /// Forgets a waiting call that ended otherwise.
  package mutating func withdraw(where isTheCall: (Call) -> Bool) {
    waiting.removeAll { isTheCall($0.call) }
  }

  // MARK: Connections

  /// Somebody wants a connection although there is no call yet.
  package mutating func connect(at now: Instant) -> [Action] {
    guard case .idle = state else { return [] }
    return [beginAttempt(at: now)]
  }

  /// The attempt has become a connection of the same number.
  package mutating func connected(attempt: Int) -> [Action] {
    guard case .connecting(attempt, _) = state else { return [.close(connection: attempt)] }
    state = .ready(connection: attempt)
    failures = 0
    lastError = nil
    guard !waiting.isEmpty else { return [] }
    let calls = waiting.map(\.call)
    waiting = []
    return [.start(calls, connection: attempt)]
  }

  /// The attempt has come to nothing.
  package mutating func failed(attempt: Int, _ error: RPCError, at now: Instant) -> [Action] {
    guard case .connecting(attempt, let started) = state else { return [] }
    let interval = backoff.interval(afterFailures: failures, using: &random)
    state = .transientFailure
    failures += 1
    lastError = error
    var actions: [Action] = [.scheduleRetry(at: max(now, started.advanced(by: interval)))]
    let failing = waiting.filter { !$0.waitForReady }.map(\.call)
    waiting.removeAll { !$0.waitForReady }
    if !failing.isEmpty { actions.append(.fail(failing, error)) }
    return actions
  }

  /// The moment of a `scheduleRetry` has come.
  package mutating func retry(at now: Instant) -> [Action] {
    guard case .transientFailure = state else { return [] }
    return [beginAttempt(at: now)]
  }

  /// The connection takes no new calls: it broke, or the server said GOAWAY. Calls under way on
  /// it are none of this machine's business; those it gives back are submitted again.
  package mutating func unusable(connection: Int, at now: Instant) -> [Action] {
    guard case .ready(connection) = state else { return [] }
    state = .idle
    return waiting.isEmpty ? [] : [beginAttempt(at: now)]
  }

  /// No new calls; those that wait for a connection fail, those under way end in peace.
  package mutating func shutDown() -> [Action] {
    var actions: [Action] = []
    switch state {
    case .idle: break
    case .connecting(let attempt, _): actions.append(.abandon(attempt: attempt))
    case .ready(let connection): actions.append(.close(connection: connection))
    case .transientFailure: actions.append(.cancelRetry)
    case .shutdown: return []
    }
    state = .shutdown
    if !waiting.isEmpty {
      actions.append(.fail(waiting.map(\.call), Self.shutDownError))
      waiting = []
    }
    return actions
  }

  private mutating func beginAttempt(at now: Instant) -> Action {
    attempts += 1
    state = .connecting(attempt: attempts, started: now)
    return .connect(attempt: attempts)
  }

  private static var shutDownError: RPCError {
    RPCError(.unavailable, "The channel was shut down.")
  }
}
