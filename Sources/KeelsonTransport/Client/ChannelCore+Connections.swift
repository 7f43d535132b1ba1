import KeelsonCore

extension ChannelCore {
  var openConnections: [HTTP2Connection] { Array(connections.values) }

  /// Makes connections if there are none.
  func connect() {
    perform(machine.connect(at: .now))
  }

  /// Does what the machine wants, one after the other: what happens on the way, and makes it want
  /// more, waits its turn.
  func perform(_ wanted: [ChannelStateMachine<ClientStream>.Action]) {
    actions += wanted
    listReady()
    states.set(machine.connectivity)
    guard !isPerforming else { return }
    isPerforming = true
    var position = 0
    while position < actions.count {
      perform(actions[position])
      position += 1
    }
    actions.removeAll()
    isPerforming = false
    armWakeUp()
  }

  private func perform(_ action: ChannelStateMachine<ClientStream>.Action) {
    switch action {
    case .resolve: resolve()
    case .connect(let number, let address): beginAttempt(number, address)
    case .abandon(let number): attempts.removeValue(forKey: number)?.abandon()
    case .resume(let calls):
      for call in calls where call.stopWaiting() { submit(call) }
    case .fail(let calls, let error):
      for call in calls where call.stopWaiting() { call.foundNoConnection(error) }
    case .close(let number): connections[number]?.shutDown()
    }
  }

  private func listReady() {
    ready.removeAll(keepingCapacity: true)
    for number in machine.ready {
      if let connection = connections[number] { ready.append(connection) }
    }
    precondition(ready.count == machine.ready.count, "what is ready is open")
  }

  private func armWakeUp() {
    guard let moment = machine.wakeUp else {
      if let wakeUp { loop.cancel(wakeUp.timer) }
      wakeUp = nil
      return
    }
    if let wakeUp {
      guard wakeUp.moment != moment else { return }
      loop.cancel(wakeUp.timer)
    }
    let timer = loop.schedule(after: ContinuousClock.now.duration(to: moment)) { [weak self] in
      guard let self else { return }
      wakeUp = nil
      perform(machine.wake(at: .now))
    }
    wakeUp = (timer, moment)
  }

  // MARK: Attempts

  private func beginAttempt(_ number: Int, _ address: ServerAddress) {
    watchLoop()
    // The loop stops: the channel has ended just now, and its calls with it.
    guard machine.connectivity != .shutdown else { return }
    let attempt = ConnectionAttempt(
      to: address, tls: tls, loop: loop,
      limits: configuration.limits(keepaliveInterval: keepaliveInterval),
      timeout: configuration.connectTimeout
    ) { [weak self] outcome in
      self?.attemptEnded(number, outcome)
    }
    attempts[number] = attempt
    attempt.start()
  }

  private func attemptEnded(_ number: Int, _ outcome: ConnectionAttempt.Outcome) {
    attempts[number] = nil
    switch outcome {
    case .success(let (connection, handler)):
      connections[number] = connection
      // The connection keeps the channel's core alive until it has closed.
      handler.onEvent = { [self] event in happened(event, onConnection: number) }
      perform(machine.connected(attempt: number, at: .now))
    case .failure(let failure):
      perform(machine.failed(attempt: number, failure, at: .now))
    }
    finishIfDone()
  }

  // MARK: Connections

  private func happened(_ event: ClientConnection.Event, onConnection number: Int) {
    switch event {
    case .ready: break
    case .goingAway(let errorCode, let debugText):
      if errorCode == .enhanceYourCalm, debugText == "too_many_pings" {
        // grpc/grpc doc/keepalive.md: such a client pings half as often from now on.
        keepaliveInterval = keepaliveInterval.map { $0 * 2 }
      }
      perform(machine.unusable(connection: number, at: .now))
    case .closed:
      // Ahead of the connection itself: the machine must not list one that is not there.
      let actions = machine.unusable(connection: number, at: .now)
      connections[number] = nil
      perform(actions)
      finishIfDone()
    }
  }

  /// No new calls go to the connection.
  func leave(_ connection: HTTP2Connection) {
    guard let number = connections.first(where: { $0.value === connection })?.key else { return }
    perform(machine.unusable(connection: number, at: .now))
  }
}
