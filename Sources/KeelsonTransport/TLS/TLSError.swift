import COpenSSL

/// Why TLS could not be set up, or a connection could not be secured.
package struct TLSError: Error, Hashable, CustomStringConvertible {
  package struct Code: Hashable, Sendable {
    private let name: String
    /// A file cannot be read.
    package static let unreadableFile = Code(name: "unreadableFile")
    /// A file, or a text that was given instead, does not hold what it should.
    package static let malformed = Code(name: "malformed")
    /// The private key is not that of the certificate.
    package static let keyMismatch = Code(name: "keyMismatch")
    /// The certificate is not valid at this time.
    package static let outsideValidity = Code(name: "outsideValidity")
    /// The peer's certificate is not accepted.
    package static let untrustedPeer = Code(name: "untrustedPeer")
    /// The handshake failed for another reason, or took too long.
    package static let handshakeFailed = Code(name: "handshakeFailed")
    /// The peer went past a limit.
    package static let misbehaviour = Code(name: "misbehaviour")
    /// The peer speaks no TLS.
    package static let plaintext = Code(name: "plaintext")
    /// OpenSSL refused; out of memory as a rule.
    package static let system = Code(name: "system")
  }

  package let code: Code
  /// What went wrong and what to do: a sentence.
  package let message: String
  /// What OpenSSL said, where it said anything.
  package let cause: String?

  package init(_ code: Code, _ message: String, cause: String? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  package var description: String { message }

  /// As whoever reads and writes the stream sees it.
  var asSocketError: SocketError {
    SocketError(code == .misbehaviour ? .peerMisbehaved : .connectionFailed, message)
  }
}

/// What OpenSSL's error queue of this thread holds.
struct OpenSSLFailure {
  /// The library's own number of the reason, `SSL_R_HTTP_REQUEST` for example; 0: none.
  let reason: Int32
  let text: String

  /// Takes the first error and forgets the rest, which follow from it.
  static func take() -> OpenSSLFailure {
    let number = ERR_get_error()
    ERR_clear_error()
    guard number != 0 else { return OpenSSLFailure(reason: 0, text: "no reason given") }
    let reason = Int32(number & UInt(ERR_REASON_MASK))
    if let text = unsafe ERR_reason_error_string(number) {
      return unsafe OpenSSLFailure(reason: reason, text: String(cString: text))
    }
    return OpenSSLFailure(reason: reason, text: "error \(String(number, radix: 16))")
  }

  /// The error for what fails only when memory is short.
  static func error(_ action: String) -> TLSError {
    let failure = take()
    return TLSError(.system, "\(action) failed: \(failure.text).", cause: failure.text)
  }
}
