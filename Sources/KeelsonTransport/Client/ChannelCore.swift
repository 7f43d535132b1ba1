import KeelsonCore

/// What a channel is made of: its state machine, connections and calls. Confined to its loop.
///
/// `@unchecked Sendable`: touched on `loop` only, but for what is immutable or says otherwise.
final class ChannelCore: @unchecked Sendable {
  /// More methods than a service has; of a caller who makes up names the rest is planned each time.
  private static let maximumPlans = 1_024

  let loop: Loop
  let target: Target
  let configuration: ChannelConfiguration
  /// How connections are secured; nil: not at all.
  let tls: TLSClientContext?
  /// May be read on any thread.
  let states = StateBroadcast()

  var machine: ChannelStateMachine<ClientStream>
  /// What the machine wants done and is not done yet.
  var actions: [ChannelStateMachine<ClientStream>.Action] = []
  var isPerforming = false
  var attempts: [Int: ConnectionAttempt] = [:]
  var connections: [Int: HTTP2Connection] = [:]
  /// The connections that take calls, as the machine lists them.
  var ready: [HTTP2Connection] = []
  var wakeUp: (timer: Loop.Timer, moment: ContinuousClock.Instant)?
  var keepaliveInterval: Duration?
  var lookup: AddressLookup?
  var changes: Task<Void, Never>?
  var hasBegunToWatchLoop = false
  var whenDone: [() -> Void] = []

  private var plans: [String: MethodPlan] = [:]
  /// Calls that have begun and not ended; each knows its place.
  private var calls: [ClientStream] = []
  private var idleTimer: Loop.Timer?
  private var lastCallEnded: UInt64 = 0
  /// What calls keep of their requests, all together.
  private var replayBytes = 0
  var throttle: RetryThrottle?

  init(target: Target, configuration: ChannelConfiguration, tls: TLSClientContext?, loop: Loop) {
    self.target = target
    self.tls = tls
    self.configuration = configuration
    self.loop = loop
    keepaliveInterval = configuration.keepaliveInterval
    throttle = configuration.serviceConfig.retryThrottling.map(RetryThrottle.init)
    machine = ChannelStateMachine(
      target: target.text,
      resolution: ResolutionStateMachine(
        interval: configuration.resolutionInterval, backoff: configuration.backoff,
        random: SystemRandomNumberGenerator()),
      balancer: LoadBalancer(
        policy: configuration.serviceConfig.loadBalancingPolicy
          ?? configuration.loadBalancingPolicy,
        backoff: configuration.backoff, attemptDelay: configuration.connectionAttemptDelay,
        random: SystemRandomNumberGenerator()))
  }

  // MARK: Calls

  /// What calls of a method have in common.
  func plan(for method: MethodDescriptor) -> MethodPlan {
    // Two descriptors of one path may differ in whether they are idempotent, in tests at least.
    if let plan = plans[method.path], plan.isIdempotent == method.isIdempotent { return plan }
    let plan = MethodPlan(method, target: target, isSecure: tls != nil, configuration)
    if plans.count < Self.maximumPlans { plans[method.path] = plan }
    return plan
  }

  /// A call enters the channel.
  func begin(_ call: ClientStream) {
    call.index = calls.count
    calls.append(call)
    guard call.prepare(plan(for: call.method)) else { return }
    submit(call)
  }

  /// A call looks for a connection: a new one, or one that is tried again.
  func submit(_ call: ClientStream) {
    while let position = machine.pick() {
      let connection = ready[position]
      if call.open(on: connection) { return }
      // The connection ended a moment ago, or has no stream numbers left.
      connection.shutDown()
      leave(connection)
    }
    switch machine.submit(call, waitForReady: call.waitsForReady, at: ContinuousClock.now) {
    case .start: preconditionFailure("there is no ready connection, the loop above says")
    case .wait(let actions):
      call.wait()
      perform(actions)
    case .fail(let error): call.foundNoConnection(error)
    }
  }

  /// A call stops looking for a connection.
  func withdraw(_ call: ClientStream) {
    machine.withdraw { $0 === call }
  }

  /// A call has ended.
  func ended(_ call: ClientStream) {
    guard let index = call.index else { return }
    call.index = nil
    let last = calls.removeLast()
    if last !== call {
      calls[index] = last
      last.index = index
    }
    guard calls.isEmpty else { return }
    lastCallEnded = loop.now
    if idleTimer == nil { watchForIdleness() }
    finishIfDone()
  }

  /// Sees whether there is room for so many more bytes to be kept for another attempt.
  func reserveReplay(_ bytes: Int) -> Bool {
    guard replayBytes + bytes <= configuration.channelReplayBytes else { return false }
    replayBytes += bytes
    return true
  }

  func releaseReplay(_ bytes: Int) {
    replayBytes -= bytes
  }

  /// What stands behind a call that still waits for a connection, for its error message.
  var lastConnectionError: RPCError? { machine.lastError }

  var hasCalls: Bool { !calls.isEmpty }

  /// Ends the calls that are still under way.
  func cancelCalls() {
    let error = RPCError(.cancelled, "The channel was shut down.")
    for call in calls { call.end(.failed(error), discarding: true) }
  }

  /// Ends the connections, whatever still waits to be sent on them.
  func closeConnections() {
    for connection in connections.values {
      connection.close(HTTP2CloseReason(.closedHere, "The channel was shut down."))
    }
  }

  // MARK: Idleness

  private func watchForIdleness() {
    guard let timeout = configuration.idleTimeout, machine.connectivity != .shutdown else { return }
    let idle = loop.now - lastCallEnded
    let limit = timeout.wholeMilliseconds
    idleTimer = loop.schedule(afterMilliseconds: limit > idle ? limit - idle : 0) { [weak self] in
      guard let self else { return }
      idleTimer = nil
      guard calls.isEmpty else { return }
      if loop.now - lastCallEnded >= limit {
        perform(machine.becomeIdle())
      } else {
        watchForIdleness()
      }
    }
  }

  // MARK: The end

  /// No new calls; `done` is called when those under way have ended and all is closed.
  func shutDown(whenDone done: @escaping () -> Void) {
    whenDone.append(done)
    close()
    finishIfDone()
  }

  /// What lives on a loop closes when the loop stops.
  func watchLoop() {
    guard !hasBegunToWatchLoop else { return }
    hasBegunToWatchLoop = true
    loop.onStop { [weak self] in
      guard let self else { return }
      close()
      cancelCalls()
      for connection in connections.values {
        connection.close(HTTP2CloseReason(.closedHere, "The channel's event loop was stopped."))
      }
    }
  }

  private func close() {
    perform(machine.shutDown())
    lookup?.cancel()
    lookup = nil
    changes?.cancel()
    changes = nil
    if let idleTimer { loop.cancel(idleTimer) }
    idleTimer = nil
  }

  func finishIfDone() {
    guard machine.connectivity == .shutdown, calls.isEmpty, connections.isEmpty, attempts.isEmpty
    else { return }
    let actions = whenDone
    whenDone = []
    for action in actions { action() }
  }
}
