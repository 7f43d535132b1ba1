import COpenSSL
import KeelsonCore

extension TLSStream {
  /// More than this in a handshake is no handshake: OpenSSL takes certificates of at most 100 KiB.
  private static let maximumHandshakeBytes = 512 * 1024

  /// Begins the handshake. On the loop's thread only.
  ///
  /// - Parameters:
  ///   - timeout: after this long without an end it has failed.
  ///   - completion: called once, later than this returns; never after ``close()``. The caller
  ///     keeps the stream until then, and closes it after a failure.
  func handshake(
    timeout: Duration, _ completion: @escaping (Result<Void, TLSError>) -> Void
  ) {
    state = .handshaking
    handshakeCompletion = completion
    handshakeTimer = loop.schedule(after: timeout) { [weak self] in
      guard let self else { return }
      handshakeTimer = nil
      failHandshake(
        TLSError(.handshakeFailed, "The TLS handshake was not complete within \(timeout)."))
    }
    transport.start(observer: self)
    // A client speaks first.
    if case .client = side { loop.flushAtEndOfTurn(self) }
  }

  /// Goes on as far as there is input.
  func continueHandshake() {
    while state == .handshaking {
      ERR_clear_error()
      let status = unsafe SSL_do_handshake(ssl)
      let wants = unsafe SSL_get_error(ssl, status)
      // An alert has to go out as well.
      let failure = status == 1 || wants == SSL_ERROR_WANT_READ ? nil : handshakeFailure()
      let sendError = sendOutput()
      if let failure { return failHandshake(failure) }
      if status == 1 { return finishHandshake() }
      if let sendError { return failHandshake(TLSError(.handshakeFailed, sendError.message)) }
      guard readHandshakeInput() else { return }
    }
  }

  /// Reads more; false when there is nothing yet.
  private func readHandshakeInput() -> Bool {
    switch unsafe transport.read(into: loop.tlsInput) {
    case .bytes(let count):
      let bytes = unsafe UnsafeRawBufferPointer(
        rebasing: UnsafeRawBufferPointer(loop.tlsInput)[..<count])
      if handshakeBytes == 0, case .server = side, let plaintext = unsafe Plaintext(bytes) {
        // In the peer's own language, without waiting for room.
        _ = unsafe plaintext.answer.withUnsafeBytes { unsafe transport.write($0) }
        failHandshake(TLSError(.plaintext, plaintext.sentence))
        return false
      }
      handshakeBytes += count
      guard handshakeBytes <= Self.maximumHandshakeBytes else {
        failHandshake(TLSError(.handshakeFailed, "The TLS handshake is larger than any should be."))
        return false
      }
      unsafe input = unsafe bytes
      return true
    case .wouldBlock: return false
    case .ended:
      failHandshake(
        TLSError(
          .handshakeFailed, "The peer closed the connection during the TLS handshake."))
      return false
    case .failed(let error):
      failHandshake(TLSError(.handshakeFailed, error.message))
      return false
    }
  }

  private func finishHandshake() {
    keepLeftover()
    if let refused = checkPeer() { return failHandshake(refused) }
    state = .open
    endHandshake(.success(()))
  }

  private func failHandshake(_ error: TLSError) {
    guard state == .handshaking else { return }
    unsafe input = UnsafeRawBufferPointer(start: nil, count: 0)
    failure = error
    endHandshake(.failure(error))
  }

  private func endHandshake(_ outcome: Result<Void, TLSError>) {
    if let timer = handshakeTimer { loop.cancel(timer) }
    handshakeTimer = nil
    let completion = handshakeCompletion
    handshakeCompletion = nil
    completion?(outcome)
  }

  /// What OpenSSL leaves to us to check once it is content.
  private func checkPeer() -> TLSError? {
    switch side {
    case .server:
      guard let x509 = unsafe SSL_get0_peer_certificate(ssl) else { return nil }
      let certificate = unsafe Certificate(sharing: x509)
      // A session that is resumed brings its certificate along, unchecked.
      if isResumed, certificate.notAfter < .now {
        return TLSError(
          .untrustedPeer,
          "The client's certificate (\(certificate.subject)) expired on "
            + "\(certificate.notAfter.toTheSecond).")
      }
      identity = certificate.identity
      return nil
    case .client(let client, _):
      guard client.speaksHTTP2 else { return nil }
      var name: UnsafePointer<UInt8>?
      var count: UInt32 = 0
      unsafe SSL_get0_alpn_selected(ssl, &name, &count)
      let chosen = unsafe UnsafeBufferPointer(start: name, count: Int(count))
      guard unsafe chosen.elementsEqual(TLSContext.protocolName) else {
        return TLSError(
          .handshakeFailed,
          "The server speaks TLS but not HTTP/2 on this port: it did not choose h2 by ALPN.")
      }
      return nil
    }
  }
}
