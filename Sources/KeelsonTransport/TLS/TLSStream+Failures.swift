import COpenSSL

// What OpenSSL's reasons mean in words, from the side that tells them.

extension TLSStream {
  /// Why the handshake failed just now.
  func handshakeFailure() -> TLSError {
    let failure = OpenSSLFailure.take()
    switch side {
    case .server:
      if let problem {
        return TLSError(
          .untrustedPeer, "The client's certificate is not accepted: \(problem.sentence()).",
          cause: failure.text)
      }
      let text = refusal ?? Self.serverReason(failure)
      return TLSError(
        .handshakeFailed, "The TLS handshake with a client failed: \(text).", cause: failure.text)
    case .client(_, let expected):
      if let problem {
        return TLSError(
          .untrustedPeer,
          "The server's certificate is not accepted: \(problem.sentence(wanted: expected.joined(separator: " or "))).",
          cause: failure.text)
      }
      return TLSError(
        .handshakeFailed, "The TLS handshake failed: \(Self.clientReason(failure)).",
        cause: failure.text)
    }
  }

  /// Why reading failed just now.
  func readFailure() -> TLSError {
    let failure = OpenSSLFailure.take()
    if failure.reason == SSL_R_UNEXPECTED_EOF_WHILE_READING {
      return TLSError(
        .handshakeFailed,
        "The peer closed the connection without saying so in TLS (no close_notify).",
        cause: failure.text)
    }
    // What a server thinks of a client's certificate comes behind the handshake in TLS 1.3.
    let text: String
    if case .client = side { text = Self.clientReason(failure) } else { text = failure.text }
    return TLSError(.handshakeFailed, "The connection failed: \(text).", cause: failure.text)
  }

  private static func serverReason(_ failure: OpenSSLFailure) -> String {
    switch failure.reason {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      "the client shows no certificate, and this server requires one"
    case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW:
      "the client speaks an older version than TLS 1.2"
    case SSL_R_NO_SHARED_CIPHER: "the client offers none of our ciphers"
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      "the client does not know who issued our certificate (it says: unknown ca)"
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
      SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      "the client does not accept our certificate (it says: \(failure.text))"
    default: failure.text
    }
  }

  private static func clientReason(_ failure: OpenSSLFailure) -> String {
    switch failure.reason {
    case SSL_R_WRONG_VERSION_NUMBER: "the server does not speak TLS on this port"
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
      "the server does not speak HTTP/2 on this port (it says: no application protocol)"
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      "the server requires a client certificate, and none was given"
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      "the server does not know who issued our client certificate (it says: unknown ca)"
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: "the server says that our certificate has expired"
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
      SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      "the server does not accept our client certificate (it says: \(failure.text))"
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      "the server and this client agree on no version or cipher of TLS (it says: \(failure.text))"
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      "the server closed the connection; does it speak TLS on this port?"
    default: failure.text
    }
  }
}

extension VerificationProblem {
  /// Without its full stop.
  ///
  /// - Parameter wanted: the name or address that the certificate should be for.
  func sentence(wanted: String = "") -> String {
    let subject = certificate?.subject ?? "unknown"
    let issuer = certificate?.issuer ?? "unknown"
    let whose = depth == 0 ? "it" : "the certificate of its issuer (\(subject))"
    switch code {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "\(whose) expired on \(certificate?.notAfter.toTheSecond ?? "an unknown day")"
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "\(whose) is not valid before \(certificate?.notBefore.toTheSecond ?? "some day")"
        + "; are the clocks right?"
    case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
      let names = certificate?.hostNames ?? []
      let list = names.isEmpty ? "no host" : names.prefix(10).joined(separator: ", ")
      return "it is not for \(wanted) but for \(list)"
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return "it is self-signed and not among the trusted ones (\(subject))"
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return "its root (\(subject)) is not among the trusted ones"
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return "its issuer (\(issuer)) is not known or not trusted"
    case X509_V_ERR_INVALID_PURPOSE:
      return "\(whose) may not be used for this: its extended key usage says otherwise"
    default:
      let text = unsafe X509_verify_cert_error_string(Int(code)).map { unsafe String(cString: $0) }
      return "\(text ?? "error \(code)") (\(subject))"
    }
  }
}
