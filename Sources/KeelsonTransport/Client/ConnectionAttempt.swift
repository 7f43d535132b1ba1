import KeelsonCore

/// One attempt to connect to a target: finds its addresses and tries one after the other, until
/// one speaks HTTP/2 or all have failed. Confined to its loop.
final class ConnectionAttempt {
  typealias Outcome = Result<(HTTP2Connection, ClientConnection), RPCError>

  private let target: Target
  private let loop: Loop
  private let limits: HTTP2Limits
  private let timeout: Duration
  private var completion: ((Outcome) -> Void)?

  private var endpoints: [Target.Endpoint]
  private var addresses: [SocketAddress] = []
  private var failures: [(address: String, reason: String)] = []

  private var resolution: HostResolution?
  private var socket: Socket?
  private var connection: HTTP2Connection?
  private var timer: Loop.Timer?

  /// - Parameter completion: called once, on the loop, unless the attempt is abandoned before.
  init(
    target: Target, loop: Loop, limits: HTTP2Limits, timeout: Duration,
    completion: @escaping (Outcome) -> Void
  ) {
    self.target = target
    self.loop = loop
    self.limits = limits
    self.timeout = timeout
    self.completion = completion
    endpoints = target.endpoints.reversed()
  }

  /// Begins; the outcome comes later than this returns.
  func start() {
    // In the mailbox, so that what fails at once is told later as well.
    let timer = loop.schedule(afterMilliseconds: 0) { [weak self] in
      self?.timer = nil
      self?.tryNext()
    }
    self.timer = timer
  }

  /// Gives up: the completion is not called.
  func abandon() {
    completion = nil
    resolution?.cancel()
    resolution = nil
    stopTimer()
    drop()
  }

  private func tryNext() {
    guard completion != nil else { return }
    if let address = addresses.popLast() { return connect(to: address) }
    guard let endpoint = endpoints.popLast() else { return finish(.failure(error())) }
    switch endpoint {
    case .numeric(let host, let port):
      if let address = SocketAddress(numericHost: host, port: port) { addresses = [address] }
      tryNext()
    case .unix(let path):
      if let address = SocketAddress(unixPath: path) { addresses = [address] }
      tryNext()
    case .name(let host, let port):
      startTimer(for: host, "the name server did not answer")
      resolution = HostResolution.start(host: host, port: port, on: loop) { [weak self] outcome in
        guard let self else { return }
        resolution = nil
        stopTimer()
        switch outcome {
        case .success(let found): addresses = found.reversed()
        case .failure(let error): failures.append((host, error.message))
        }
        tryNext()
      }
    }
  }

  private func connect(to address: SocketAddress) {
    let name = Self.name(of: address)
    startTimer(for: name, "no answer")
    do throws(SocketError) {
      socket = try Socket.connect(to: address, on: loop) { [weak self] error in
        guard let self else { return }
        if let error { failed(name, Self.reason(error)) } else { speakHTTP2(name) }
      }
    } catch {
      failed(name, Self.reason(error))
    }
  }

  private func speakHTTP2(_ name: String) {
    guard let socket else { return }
    self.socket = nil
    let handler = ClientConnection { _ in }
    let connection = HTTP2Connection(
      role: .client, stream: socket, loop: loop, limits: limits, handler: handler)
    self.connection = connection
    handler.onEvent = { [weak self, unowned handler] event in
      guard let self else { return }
      switch event {
      case .ready:
        self.connection = nil
        finish(.success((connection, handler)))
      case .goingAway: break
      case .closed(let reason):
        self.connection = nil
        failed(name, Self.lowercased("no HTTP/2 there: \(reason.message)"))
      }
    }
    connection.start()
  }

  private func failed(_ address: String, _ reason: String) {
    failures.append((address, reason))
    stopTimer()
    drop()
    tryNext()
  }

  private func finish(_ outcome: Outcome) {
    stopTimer()
    let completion = completion
    self.completion = nil
    completion?(outcome)
  }

  /// Closes what the current address has come to.
  private func drop() {
    socket?.close()
    socket = nil
    if let connection {
      self.connection = nil
      connection.close(HTTP2CloseReason(.closedHere, "The attempt to connect was given up."))
    }
  }

  private func startTimer(for address: String, _ reason: String) {
    timer = loop.schedule(after: timeout) { [weak self] in
      guard let self else { return }
      timer = nil
      resolution?.cancel()
      resolution = nil
      failed(address, "\(reason) within \(timeout)")
    }
  }

  private func stopTimer() {
    if let timer { loop.cancel(timer) }
    timer = nil
  }

  // MARK: Saying what went wrong

  private func error() -> RPCError {
    var reasons: [String] = []
    for failure in failures {
      reasons.append(
        failure.address == target.text
          || failures.count == 1 && target.text.contains(failure.address)
          ? failure.reason : "\(failure.address) \(failure.reason)")
    }
    return RPCError(
      .unavailable, "\(target): \(reasons.joined(separator: ", ")); is the server running?")
  }

  private static func name(of address: SocketAddress) -> String {
    switch address.kind {
    case .ipv4(let host, let port): "\(host):\(port)"
    case .ipv6(let host, let port): "[\(host)]:\(port)"
    case .unix(let path): path
    }
  }

  /// What the operating system says, without what we were doing: that stands ahead of it.
  private static func reason(_ error: SocketError) -> String {
    error.cause.map { uvMessage(-$0) } ?? lowercased(error.message)
  }

  private static func lowercased(_ sentence: String) -> String {
    var text = sentence.prefix(1).lowercased() + sentence.dropFirst()
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }
}
