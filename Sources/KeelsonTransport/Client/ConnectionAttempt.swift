/// One attempt to connect to an address: it succeeds when the server has spoken HTTP/2. Confined to
/// its loop.
final class ConnectionAttempt {
  typealias Outcome = Result<(HTTP2Connection, ClientConnection), ConnectionFailure>

  private let address: ServerAddress
  private let tls: TLSClientContext?
  private let loop: Loop
  private let limits: HTTP2Limits
  private let timeout: Duration
  private var completion: ((Outcome) -> Void)?

  private var socket: Socket?
  private var secured: TLSStream?
  private var connection: HTTP2Connection?
  private var timer: Loop.Timer?

  /// - Parameter completion: called once, on the loop, unless the attempt is abandoned before.
  init(
    to address: ServerAddress, tls: TLSClientContext?, loop: Loop, limits: HTTP2Limits,
    timeout: Duration, completion: @escaping (Outcome) -> Void
  ) {
    self.address = address
    self.tls = tls
    self.loop = loop
    self.limits = limits
    self.timeout = timeout
    self.completion = completion
  }

  /// Begins; the outcome comes later than this returns.
  func start() {
    // By a timer, so that what fails at once is told later as well.
    timer = loop.schedule(afterMilliseconds: 0) { [weak self] in
      self?.timer = nil
      self?.connect()
    }
  }

  /// Gives up: the completion is not called.
  func abandon() {
    completion = nil
    stopTimer()
    drop()
  }

  private func connect() {
    timer = loop.schedule(after: timeout) { [weak self] in
      guard let self else { return }
      self.timer = nil
      failed("no answer within \(timeout)")
    }
    do throws(SocketError) {
      // As gRPC does: what keepalive is for, the operating system is told for bytes of ours.
      let userTimeout = limits.keepaliveInterval == nil ? nil : limits.keepaliveTimeout
      socket = try Socket.connect(
        to: address.socketAddress, on: loop, userTimeout: userTimeout
      ) { [weak self] error in
        guard let self else { return }
        if let error { failed(Self.reason(error)) } else { secure() }
      }
    } catch {
      failed(Self.reason(error))
    }
  }

  /// Makes the connection a TLS one where that is wanted.
  private func secure() {
    guard let socket else { return }
    self.socket = nil
    guard let tls else { return speakHTTP2(over: socket) }
    tls.reloadIfChanged()
    do throws(TLSError) {
      let stream = try TLSStream(
        .client(tls, expected: tls.expected(at: address.socketAddress)), over: socket, on: loop)
      secured = stream
      // The attempt's own timer is running, and says the same.
      stream.handshake(timeout: timeout) { [weak self] outcome in
        guard let self else { return }
        switch outcome {
        case .success: speakHTTP2(over: stream)
        case .failure(let error): failed(Self.lowercased(error.message), hasAnswered: true)
        }
      }
    } catch {
      socket.close()
      failed(Self.lowercased(error.message), hasAnswered: true)
    }
  }

  private func speakHTTP2(over stream: any ByteStream) {
    let handler = ClientConnection { _ in }
    let connection = HTTP2Connection(
      role: .client, stream: stream, loop: loop, limits: limits, handler: handler)
    self.connection = connection
    handler.onEvent = { [weak self, unowned handler] event in
      guard let self else { return }
      switch event {
      case .ready:
        self.connection = nil
        secured = nil
        stopTimer()
        let completion = completion
        self.completion = nil
        completion?(.success((connection, handler)))
      case .goingAway: break
      case .closed(let reason):
        self.connection = nil
        // A server that refuses a client's certificate says so behind the handshake of TLS 1.3.
        if let refusal = secured?.failure {
          failed(Self.lowercased(refusal.message), hasAnswered: true)
        } else {
          failed(Self.lowercased("no HTTP/2 there: \(reason.message)"))
        }
      }
    }
    connection.start()
  }

  private func failed(_ reason: String, hasAnswered: Bool = false) {
    // First, so that the end of a connection which is dropped below is not one more failure.
    let completion = completion
    self.completion = nil
    stopTimer()
    drop()
    completion?(
      .failure(
        ConnectionFailure(
          address: address.description, reason: reason, hasAnswered: hasAnswered)))
  }

  /// Closes what there is so far.
  private func drop() {
    socket?.close()
    socket = nil
    secured?.close()
    secured = nil
    if let connection {
      self.connection = nil
      connection.close(HTTP2CloseReason(.closedHere, "The attempt to connect was given up."))
    }
  }

  private func stopTimer() {
    if let timer { loop.cancel(timer) }
    timer = nil
  }

  // MARK: Saying what went wrong

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
