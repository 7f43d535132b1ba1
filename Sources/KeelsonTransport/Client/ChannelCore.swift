import KeelsonCore

/// What a channel is made of: its state machine, connections and calls. Confined to its loop.
///
/// `@unchecked Sendable`: touched on `loop` only, but for what is immutable or says otherwise.
final class ChannelCore: @unchecked Sendable {
  let loop: Loop
  let target: Target
  let configuration: ChannelConfiguration
  /// May be read on any thread.
  let states = StateBroadcast()

  private var machine: ChannelStateMachine<ClientStream>
  private var attempt: ConnectionAttempt?
  private var connections: [Int: HTTP2Connection] = [:]
  /// The connection that takes new calls, so that a call need not look it up.
  private var current: (number: Int, connection: HTTP2Connection)?
  private var retryTimer: Loop.Timer?
  private var keepaliveInterval: Duration?
  /// Calls that have begun and not ended; each knows its place.
  private var calls: [ClientStream] = []
  private var hasBegunToWatchLoop = false
  private var whenDone: [() -> Void] = []

  init(target: Target, configuration: ChannelConfiguration, loop: Loop) {
    self.target = target
    self.configuration = configuration
    self.loop = loop
    keepaliveInterval = configuration.keepaliveInterval
    machine = ChannelStateMachine(
      backoff: configuration.backoff, random: SystemRandomNumberGenerator())
  }

  // MARK: Calls

  /// A call enters the channel.
  func begin(_ call: ClientStream) {
    call.index = calls.count
    calls.append(call)
    guard call.prepare() else { return }
    submit(call)
  }

  /// A call looks for a connection: a new one, or one whose stream was refused unprocessed.
  func submit(_ call: ClientStream) {
    switch machine.submit(
      call, waitForReady: call.options.waitForReady, at: ContinuousClock.now)
    {
    case .start(let number):
      open(call, onConnection: number)
    case .wait(let action):
      call.isWaiting = true
      if let action { perform([action]) }
    case .fail(let error):
      call.end(.failed(error), discarding: true)
    }
  }

  private func open(_ call: ClientStream, onConnection number: Int) {
    call.isWaiting = false
    // The connection may have turned away a call ahead of this one.
    guard let current, current.number == number else { return submit(call) }
    if !call.open(on: current.connection) {
      // The connection ended a moment ago, or has no stream numbers left.
      current.connection.shutDown()
      leave(connection: number)
      submit(call)
    }
  }

  /// A call has ended.
  func ended(_ call: ClientStream) {
    if call.isWaiting {
      call.isWaiting = false
      machine.withdraw { $0 === call }
    }
    guard let index = call.index else { return }
    call.index = nil
    let last = calls.removeLast()
    if last !== call {
      calls[index] = last
      last.index = index
    }
    finishIfDone()
  }

  /// What stands behind a call that still waits for a connection, for its error message.
  var lastConnectionError: RPCError? { machine.lastError }

  // MARK: Connections

  var openConnections: [HTTP2Connection] { Array(connections.values) }

  /// Makes a connection if there is none.
  func connect() {
    perform(machine.connect(at: .now))
  }

  private func perform(_ actions: [ChannelStateMachine<ClientStream>.Action]) {
    states.set(machine.connectivity)
    for action in actions {
      switch action {
      case .connect(let number): beginAttempt(number)
      case .abandon:
        attempt?.abandon()
        attempt = nil
      case .scheduleRetry(let moment):
        let delay = ContinuousClock.now.duration(to: moment)
        retryTimer = loop.schedule(after: delay) { [weak self] in
          guard let self else { return }
          retryTimer = nil
          perform(machine.retry(at: .now))
        }
      case .cancelRetry:
        if let retryTimer { loop.cancel(retryTimer) }
        retryTimer = nil
      case .start(let calls, let number):
        for call in calls { open(call, onConnection: number) }
      case .fail(let calls, let error):
        for call in calls {
          call.isWaiting = false
          call.end(.failed(error), discarding: true)
        }
      case .close(let number):
        if current?.number == number { current = nil }
        connections[number]?.shutDown()
      }
    }
  }

  private func beginAttempt(_ number: Int) {
    watchLoop()
    // The loop stops: the channel has ended just now, and its calls with it.
    guard machine.connectivity != .shutdown else { return }
    let attempt = ConnectionAttempt(
      target: target, loop: loop,
      limits: configuration.limits(keepaliveInterval: keepaliveInterval),
      timeout: configuration.connectTimeout
    ) { [weak self] outcome in
      self?.attemptEnded(number, outcome)
    }
    self.attempt = attempt
    attempt.start()
  }

  private func attemptEnded(_ number: Int, _ outcome: ConnectionAttempt.Outcome) {
    attempt = nil
    switch outcome {
    case .success(let (connection, handler)):
      connections[number] = connection
      current = (number, connection)
      // The connection keeps the channel's core alive until it has closed.
      handler.onEvent = { [self] event in happened(event, onConnection: number) }
      perform(machine.connected(attempt: number))
    case .failure(let error):
      perform(machine.failed(attempt: number, error, at: .now))
    }
    finishIfDone()
  }

  private func happened(_ event: ClientConnection.Event, onConnection number: Int) {
    switch event {
    case .ready: break
    case .goingAway(let errorCode, let debugText):
      if errorCode == .enhanceYourCalm, debugText == "too_many_pings" {
        // grpc/grpc doc/keepalive.md: such a client pings half as often from now on.
        keepaliveInterval = keepaliveInterval.map { $0 * 2 }
      }
      leave(connection: number)
    case .closed:
      connections[number] = nil
      leave(connection: number)
      finishIfDone()
    }
  }

  /// No new calls go to the connection.
  private func leave(connection number: Int) {
    if current?.number == number { current = nil }
    perform(machine.unusable(connection: number, at: .now))
  }

  // MARK: The end

  /// No new calls; `done` is called when those under way have ended and all is closed.
  func shutDown(whenDone done: @escaping () -> Void) {
    whenDone.append(done)
    perform(machine.shutDown())
    finishIfDone()
  }

  /// Ends the calls that are still under way.
  func cancelCalls() {
    let error = RPCError(.cancelled, "The channel was shut down.")
    for call in calls { call.end(.failed(error), discarding: true) }
  }

  private func finishIfDone() {
    guard machine.connectivity == .shutdown, calls.isEmpty, connections.isEmpty, attempt == nil
    else { return }
    let actions = whenDone
    whenDone = []
    for action in actions { action() }
  }

  /// What lives on a loop closes when the loop stops.
  private func watchLoop() {
    guard !hasBegunToWatchLoop else { return }
    hasBegunToWatchLoop = true
    loop.onStop { [weak self] in
      guard let self else { return }
      perform(machine.shutDown())
      cancelCalls()
      for connection in connections.values {
        connection.close(HTTP2CloseReason(.closedHere, "The channel's event loop was stopped."))
      }
    }
  }
}
