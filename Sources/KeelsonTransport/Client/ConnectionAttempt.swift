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

  private var attempt: StreamAttempt?
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
    let attempt = StreamAttempt(
      to: address, tls: tls, loop: loop,
      // The attempt's own timer is running, and says the same.
      handshakeTimeout: timeout,
      // As gRPC does: what keepalive is for, the operating system is told for bytes of ours.
      userTimeout: limits.keepaliveInterval == nil ? nil : limits.keepaliveTimeout
    ) { [weak self] outcome in
      guard let self else { return }
      self.attempt = nil
      switch outcome {
      case .success(let stream): speakHTTP2(over: stream)
      case .failure(let failure): failed(failure.reason, hasAnswered: failure.hasAnswered)
      }
    }
    self.attempt = attempt
    attempt.start()
  }

  private func speakHTTP2(over stream: any ByteStream) {
    let handler = ClientConnection { _ in }
    let connection = HTTP2Connection(
      role: .client, stream: stream, loop: loop, limits: limits, handler: handler)
    self.connection = connection
    let secured = stream as? TLSStream
    handler.onEvent = { [weak self, unowned handler] event in
      guard let self else { return }
      switch event {
      case .ready:
        self.connection = nil
        stopTimer()
        let completion = completion
        self.completion = nil
        completion?(.success((connection, handler)))
      case .goingAway: break
      case .closed(let reason):
        self.connection = nil
        // A server that refuses a client's certificate says so behind the handshake of TLS 1.3.
        if let refusal = secured?.failure {
          failed(StreamAttempt.lowercased(refusal.message), hasAnswered: true)
        } else {
          failed(StreamAttempt.lowercased("no HTTP/2 there: \(reason.message)"))
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
    attempt?.abandon()
    attempt = nil
    if let connection {
      self.connection = nil
      connection.close(HTTP2CloseReason(.closedHere, "The attempt to connect was given up."))
    }
  }

  private func stopTimer() {
    if let timer { loop.cancel(timer) }
    timer = nil
  }
}
