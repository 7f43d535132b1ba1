import COpenSSL
import KeelsonCore

/// What a server's new TLS connections begin with: one certificate and one set of rules, as they
/// were when the files were last read. Immutable.
package final class TLSServerContext: Sendable {
  /// How long a session may be resumed.
  private static let sessionSeconds = 2 * 3_600

  let tls: TLSContext
  let configuration: TLSServerConfiguration
  private let ticketKeys: TicketKeys
  /// The server's own certificate.
  package let certificate: Certificate

  /// Reads the files.
  ///
  /// - Throws: ``TLSError`` whose sentence names the file and the cause.
  init(
    _ configuration: TLSServerConfiguration, ticketKeys: TicketKeys, now: UnixTime
  ) throws(TLSError) {
    self.configuration = configuration
    self.ticketKeys = ticketKeys
    let credential = try TLSCredential(
      certificateFile: configuration.certificateFile, keyFile: configuration.keyFile, now: now)
    certificate = credential.chain[0]
    tls = unsafe try TLSContext(TLS_server_method())
    do throws(TLSError) {
      try tls.use(credential.chain, credential.key)
    } catch {
      throw TLSError(
        error.code, "The TLS certificate file \(configuration.certificateFile): \(error.message)",
        cause: error.cause)
    }
    let clientCA = try Self.clientCA(configuration)
    if !clientCA.issuers.isEmpty { tls.trust(clientCA.issuers) }
    for issuer in clientCA.issuers { unsafe SSL_CTX_add_client_CA(tls.context, issuer.x509) }
    unsafe setRules(tls.context)
    unsafe setSessions(tls.context, clientCA: clientCA.bytes)
  }

  /// Who may have issued the clients' certificates; nobody when they are not asked for any.
  ///
  /// - Throws: ``TLSError`` whose sentence names the file and the cause.
  static func clientCA(
    _ configuration: TLSServerConfiguration
  ) throws(TLSError) -> (bytes: [UInt8], issuers: [Certificate]) {
    guard configuration.clientAuthentication != .none, let file = configuration.clientCAFile else {
      return ([], [])
    }
    let bytes = try PEMFile(file, what: "client CA").bytes
    let issuers = try Certificate.all(inPEM: bytes, name: "The client CA file \(file)")
    guard issuers.allSatisfy(\.isCA) else {
      throw TLSError(
        .malformed,
        "The client CA file \(file) holds a certificate that may not issue others: give the "
          + "certificate of the authority, not one that it issued.")
    }
    return (bytes, issuers)
  }

  private func setRules(_ context: OpaquePointer) {
    unsafe SSL_CTX_set_client_hello_cb(
      context,
      { ssl, alert, _ in
        var bytes: UnsafePointer<UInt8>?
        var count = 0
        if unsafe SSL_client_hello_get0_ext(
          ssl, UInt32(TLSEXT_TYPE_application_layer_protocol_negotiation), &bytes, &count) == 1
        {
          return SSL_CLIENT_HELLO_SUCCESS
        }
        // RFC 9113 section 3.2: HTTP/2 over TLS is agreed upon by ALPN.
        unsafe alert?.pointee = SSL_AD_NO_APPLICATION_PROTOCOL
        unsafe TLSStream.of(ssl)?.refusal = "the client offers no protocol by ALPN; gRPC needs h2"
        return SSL_CLIENT_HELLO_ERROR
      }, nil)
    unsafe SSL_CTX_set_alpn_select_cb(
      context,
      { ssl, chosen, chosenCount, offered, offeredCount, _ in
        var position = 0
        while let offered = unsafe offered, position < Int(offeredCount) {
          let count = unsafe Int(offered[position])
          let name = unsafe UnsafeBufferPointer(
            start: offered + position + 1, count: min(count, Int(offeredCount) - position - 1))
          if unsafe name.elementsEqual(TLSContext.protocolName) {
            unsafe chosen?.pointee = name.baseAddress
            unsafe chosenCount?.pointee = UInt8(name.count)
            return SSL_TLSEXT_ERR_OK
          }
          position += 1 + count
        }
        unsafe TLSStream.of(ssl)?.refusal = "the client does not offer h2 by ALPN; gRPC needs it"
        return SSL_TLSEXT_ERR_ALERT_FATAL
      }, nil)
    switch configuration.clientAuthentication {
    case .none: unsafe SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
    case .optional: unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER, TLSStream.rememberProblem)
    case .required:
      unsafe SSL_CTX_set_verify(
        context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, TLSStream.rememberProblem)
    }
    unsafe SSL_CTX_set_info_callback(context, TLSStream.countControl)
  }

  private func setSessions(_ context: OpaquePointer, clientCA: [UInt8]) {
    // Sessions live in tickets that the clients keep: nothing is stored here.
    unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, Int(SSL_SESS_CACHE_OFF), nil)
    unsafe SSL_CTX_set_timeout(context, Self.sessionSeconds)
    // Who is trusted is part of it: a session that began under other issuers is not resumed.
    var digest = [UInt8](repeating: 0, count: 32)
    let rules = Array("keelson \(configuration.clientAuthentication.rawValue) ".utf8) + clientCA
    _ = unsafe EVP_Digest(rules, rules.count, &digest, nil, EVP_sha256(), nil)
    unsafe SSL_CTX_set_session_id_context(context, digest, UInt32(digest.count))
    unsafe ticketKeys.use(in: context)
  }
}
