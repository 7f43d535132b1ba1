/// One attempt to connect to an address, with TLS where that is wanted. Confined to its loop.
///
/// It has no timeout of its own: whoever waits gives it up.
package final class StreamAttempt {
  package typealias Outcome = Result<any ByteStream, ConnectionFailure>

  private let address: ServerAddress
  private let tls: TLSClientContext?
  private let loop: Loop
  private let handshakeTimeout: Duration
  private let userTimeout: Duration?
  private var completion: ((Outcome) -> Void)?

  private var socket: Socket?
  private var secured: TLSStream?

  /// - Parameters:
  ///   - handshakeTimeout: for TLS alone.
  ///   - userTimeout: see ``Socket/connect(to:on:userTimeout:completion:)``.
  ///   - completion: called once, on the loop, unless the attempt is abandoned before. The stream is
  ///     then the caller's to close.
  package init(
    to address: ServerAddress, tls: TLSClientContext?, loop: Loop, handshakeTimeout: Duration,
    userTimeout: Duration?, completion: @escaping (Outcome) -> Void
  ) {
    self.address = address
    self.tls = tls
    self.loop = loop
    self.handshakeTimeout = handshakeTimeout
    self.userTimeout = userTimeout
    self.completion = completion
  }

  /// Begins; what fails at once is told before this returns.
  package func start() {
    do throws(SocketError) {
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

  /// Gives up: the completion is not called.
  package func abandon() {
    completion = nil
    drop()
  }

  /// Makes the connection a TLS one where that is wanted.
  private func secure() {
    guard let socket else { return }
    self.socket = nil
    guard let tls else { return succeeded(socket) }
    tls.reloadIfChanged()
    do throws(TLSError) {
      let stream = try TLSStream(
        .client(tls, expected: tls.expected(at: address.socketAddress)), over: socket, on: loop)
      secured = stream
      stream.handshake(timeout: handshakeTimeout) { [weak self] outcome in
        guard let self else { return }
        switch outcome {
        case .success:
          secured = nil
          succeeded(stream)
        case .failure(let error): failed(Self.lowercased(error.message), hasAnswered: true)
        }
      }
    } catch {
      socket.close()
      failed(Self.lowercased(error.message), hasAnswered: true)
    }
  }

  private func succeeded(_ stream: any ByteStream) {
    let completion = completion
    self.completion = nil
    completion?(.success(stream))
  }

  private func failed(_ reason: String, hasAnswered: Bool = false) {
    let completion = completion
    self.completion = nil
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
  }

  // MARK: Saying what went wrong

  /// What the operating system says, without what we were doing: that stands ahead of it.
  private static func reason(_ error: SocketError) -> String {
    error.cause.map { uvMessage(-$0) } ?? lowercased(error.message)
  }

  static func lowercased(_ sentence: String) -> String {
    var text = sentence.prefix(1).lowercased() + sentence.dropFirst()
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }
}
