import COpenSSL

/// What the TLS connections of one side share: OpenSSL's `SSL_CTX` with Keelson's rules.
///
/// TLS 1.2 and 1.3; of 1.2 only key exchanges with forward secrecy and authenticated encryption;
/// no renegotiation, no compression; HTTP/2 by ALPN (RFC 9113 section 9.2).
///
/// `@unchecked Sendable`: set up before it is shared; OpenSSL's own locks guard the rest.
@safe final class TLSContext: @unchecked Sendable {
  /// AES with 128 bits first: it is the fastest of those that nobody can break.
  private static let ciphersOfTLS12 =
    "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
  private static let ciphersOfTLS13 =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
  /// 112 bits of security: RSA keys of 2,048 bits and more, no SHA-1 in signatures.
  private static let securityLevel: Int32 = 2
  /// HTTP/2 in ALPN. Source: RFC 9113 section 3.2.
  static let protocolName = Array("h2".utf8)

  let context: OpaquePointer

  init(_ method: OpaquePointer?) throws(TLSError) {
    guard let context = unsafe SSL_CTX_new(method) else {
      throw OpenSSLFailure.error("Setting up TLS")
    }
    unsafe self.context = unsafe context
    unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    unsafe SSL_CTX_set_security_level(context, Self.securityLevel)
    unsafe SSL_CTX_set_options(context, keelson_ssl_strict_options())
    // An idle connection holds no buffers; the rest of a write may come from another address.
    unsafe SSL_CTX_ctrl(
      context, SSL_CTRL_MODE,
      Int(SSL_MODE_RELEASE_BUFFERS) | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER), nil)
    guard unsafe SSL_CTX_set_cipher_list(context, Self.ciphersOfTLS12) == 1,
      unsafe SSL_CTX_set_ciphersuites(context, Self.ciphersOfTLS13) == 1
    else { throw OpenSSLFailure.error("Choosing the ciphers of TLS") }
  }

  deinit {
    unsafe SSL_CTX_free(context)
  }

  /// Uses a certificate, with those that lead from it to its root, and its key.
  ///
  /// - Parameter chain: at least one; the first is our own.
  func use(_ chain: [Certificate], _ key: PrivateKey) throws(TLSError) {
    ERR_clear_error()
    guard unsafe SSL_CTX_use_certificate(context, chain[0].x509) == 1,
      unsafe SSL_CTX_use_PrivateKey(context, key.key) == 1
    else {
      let failure = OpenSSLFailure.take()
      throw TLSError(
        .malformed, "The certificate cannot be used: \(failure.text).", cause: failure.text)
    }
    for certificate in chain.dropFirst() {
      // SSL_CTX_add1_chain_cert
      _ = unsafe SSL_CTX_ctrl(
        context, SSL_CTRL_CHAIN_CERT, 1, UnsafeMutableRawPointer(certificate.x509))
    }
  }

  /// Trusts what these certificates have issued.
  func trust(_ certificates: [Certificate]) {
    let store = unsafe SSL_CTX_get_cert_store(context)
    for certificate in certificates { unsafe X509_STORE_add_cert(store, certificate.x509) }
    ERR_clear_error()
  }
}
