package import KeelsonCore

/// What a channel does next: when its name is resolved, to which addresses it connects, where calls
/// go, who waits. Events come in, actions go out; there is no I/O and no clock in here.
///
/// `Call` is whatever identifies a call to the owner. After each event the owner performs the
/// actions and sees to it that ``wake(at:)`` is called at ``wakeUp``.
package struct ChannelStateMachine<Call> {
  package typealias Instant = ContinuousClock.Instant

  package enum Action {
    /// Look the addresses up; report them with ``resolved(_:at:)`` or ``resolutionFailed(_:at:)``.
    case resolve
    /// Begin an attempt; report it with ``connected(attempt:at:)`` or ``failed(attempt:_:at:)``.
    case connect(attempt: Int, ServerAddress)
    /// Give up the attempt; whatever comes of it does not matter any more.
    case abandon(attempt: Int)
    /// Submit these calls again.
    case resume([Call])
    /// End these calls with the error.
    case fail([Call], RPCError)
    /// Close the connection once its calls have ended.
    case close(connection: Int)
  }

  /// What becomes of a new call.
  package enum Submission {
    /// It begins on this connection.
    case start(connection: Int)
    /// It waits here, until a `resume` or `fail` action names it, or ``withdraw(where:)``.
    case wait([Action])
    case fail(RPCError)
  }

  private struct Waiting {
    let call: Call
    let waitForReady: Bool
  }

  private let target: String
  private var resolution: ResolutionStateMachine
  private var balancer: LoadBalancer
  private var waiting: [Waiting] = []
  /// Why there are no addresses, if there are none.
  private var resolutionFailure: ConnectionFailure?
  private var isShutDown = false

  /// - Parameter target: as its user wrote it, for errors.
  package init(target: String, resolution: ResolutionStateMachine, balancer: LoadBalancer) {
    self.target = target
    self.resolution = resolution
    self.balancer = balancer
  }

  /// What the channel shows to its users.
  package var connectivity: ConnectivityState {
    if isShutDown { return .shutdown }
    guard balancer.isActive, balancer.subchannels.isEmpty else { return balancer.connectivity }
    return resolutionFailure == nil ? .connecting : .transientFailure
  }

  package var waitingCalls: Int { waiting.count }

  /// The connections that take calls. ``pick()`` says which of them does.
  package var ready: [Int] { balancer.ready }

  /// Why calls find no connection; nil while no attempt has failed since the last success.
  package var lastError: RPCError? {
    let failures = balancer.failures
    if !failures.isEmpty { return RPCError(failures, target: target) }
    return resolutionFailure.map { RPCError([$0], target: target) }
  }

  /// When ``wake(at:)`` is to be called; nil: not by itself.
  package var wakeUp: Instant? {
    guard !isShutDown else { return nil }
    guard let moment = resolution.wakeUp else { return balancer.wakeUp }
    return balancer.wakeUp.map { min($0, moment) } ?? moment
  }

  // MARK: Calls

  /// Where in ``ready`` the next call goes; nil if nowhere.
  package mutating func pick() -> Int? { balancer.pick() }

  /// A new call, or one that is tried again.
  package mutating func submit(
    _ call: Call, waitForReady: Bool, at now: @autoclosure () -> Instant
  ) -> Submission {
    if let position = pick() { return .start(connection: ready[position]) }
    if isShutDown { return .fail(Self.shutDownError) }
    if !waitForReady, connectivity == .transientFailure, let lastError { return .fail(lastError) }
    waiting.append(Waiting(call: call, waitForReady: waitForReady))
    return .wait(connectivity == .idle ? connect(at: now()) : [])
  }

  /// Forgets a waiting call that ended otherwise.
  package mutating func withdraw(where isTheCall: (Call) -> Bool) {
    waiting.removeAll { isTheCall($0.call) }
  }

  // MARK: Events

  /// Somebody wants a connection.
  package mutating func connect(at now: Instant) -> [Action] {
    guard connectivity == .idle else { return [] }
    let mustResolve = balancer.subchannels.isEmpty && resolution.request(at: now)
    return (mustResolve ? [.resolve] : []) + settle(balancer.activate(at: now), at: now)
  }

  /// These are the addresses; none count as a failure, and the last ones that were found stay.
  package mutating func resolved(_ addresses: [ServerAddress], at now: Instant) -> [Action] {
    guard !isShutDown else { return [] }
    guard !addresses.isEmpty else {
      return resolutionFailed("has no addresses", at: now)
    }
    resolutionFailure = nil
    let isOutdated = resolution.succeeded(at: now)
    return (isOutdated ? [.resolve] : []) + settle(balancer.update(addresses, at: now), at: now)
  }

  /// The addresses could not be found out.
  ///
  /// - Parameter reason: words that may follow the target.
  package mutating func resolutionFailed(_ reason: String, at now: Instant) -> [Action] {
    guard !isShutDown else { return [] }
    if balancer.subchannels.isEmpty {
      resolutionFailure = ConnectionFailure(address: target, reason: reason)
    }
    let isOutdated = resolution.failed(at: now)
    return (isOutdated ? [.resolve] : []) + settle([], at: now)
  }

  /// The resolver says that there are other addresses.
  package mutating func addressesChanged(at now: Instant) -> [Action] {
    !isShutDown && resolution.changed(at: now) ? [.resolve] : []
  }

  /// The attempt has become a connection of the same number.
  package mutating func connected(attempt: Int, at now: Instant) -> [Action] {
    settle(balancer.connected(attempt: attempt, at: now), at: now)
  }

  /// The attempt has come to nothing.
  package mutating func failed(
    attempt: Int, _ failure: ConnectionFailure, at now: Instant
  ) -> [Action] {
    settle(balancer.failed(attempt: attempt, failure, at: now), at: now)
  }

  /// The connection takes no new calls: it broke, or the server said GOAWAY. Calls under way on
  /// it are none of this machine's business; those it gives back are submitted again.
  package mutating func unusable(connection: Int, at now: Instant) -> [Action] {
    settle(balancer.lost(connection: connection, at: now), at: now)
  }

  /// The moment of ``wakeUp`` has come.
  package mutating func wake(at now: Instant) -> [Action] {
    guard !isShutDown else { return [] }
    let mustResolve = resolution.wake(at: now)
    return (mustResolve ? [.resolve] : []) + settle(balancer.wake(at: now), at: now)
  }

  /// There has been no call for a while: the connections are let go until there is one.
  package mutating func becomeIdle() -> [Action] {
    guard !isShutDown, waiting.isEmpty else { return [] }
    return balancer.deactivate().compactMap(Self.action)
  }

  /// No new calls; those that wait for a connection fail, those under way end in peace.
  package mutating func shutDown() -> [Action] {
    guard !isShutDown else { return [] }
    var actions = balancer.deactivate().compactMap(Self.action)
    isShutDown = true
    if !waiting.isEmpty {
      actions.append(.fail(waiting.map(\.call), Self.shutDownError))
      waiting = []
    }
    return actions
  }

  // MARK: What follows

  /// What the balancer wants done, and what becomes of the calls that wait.
  private mutating func settle(_ wanted: [LoadBalancer.Action], at now: Instant) -> [Action] {
    var actions = wanted.compactMap(Self.action)
    if wanted.contains(.resolve), resolution.request(at: now) { actions.append(.resolve) }
    guard !waiting.isEmpty else { return actions }
    switch connectivity {
    case .ready:
      actions.append(.resume(waiting.map(\.call)))
      waiting = []
    case .transientFailure:
      let failing = waiting.filter { !$0.waitForReady }.map(\.call)
      waiting.removeAll { !$0.waitForReady }
      if !failing.isEmpty, let lastError { actions.append(.fail(failing, lastError)) }
    case .idle: actions += connect(at: now)
    case .connecting, .shutdown: break
    }
    return actions
  }

  private static func action(_ action: LoadBalancer.Action) -> Action? {
    switch action {
    case .connect(let attempt, let address): .connect(attempt: attempt, address)
    case .abandon(let attempt): .abandon(attempt: attempt)
    case .close(let connection): .close(connection: connection)
    case .resolve: nil
    }
  }

  private static var shutDownError: RPCError {
    RPCError(.unavailable, "The channel was shut down.")
  }
}
