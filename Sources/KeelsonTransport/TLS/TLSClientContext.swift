import COpenSSL
import KeelsonCore
import Synchronization

/// What the TLS connections of one channel share: whom they trust, which name they expect, and
/// the sessions that can be resumed.
///
/// `@unchecked Sendable`: immutable, but for the sessions, which a Mutex guards.
@safe package final class TLSClientContext: @unchecked Sendable {
  /// Sessions with more addresses than this are forgotten.
  private static let maximumSessions = 64

  let tls: TLSContext
  /// The name or address that the server's certificate has to be for.
  let serverName: String
  private let isAddress: Bool
  private let sessions = Mutex<[String: Session]>([:])

  /// Reads files and checks all.
  ///
  /// - Throws: ``TLSError`` whose sentence names what cannot be used and why.
  package init(_ configuration: TLSClientConfiguration, target: Target) throws(TLSError) {
    serverName = configuration.serverName ?? target.host
    isAddress = SocketAddress(numericHost: self.serverName, port: 1) != nil
    tls = unsafe try TLSContext(TLS_client_method())
    switch configuration.trustRoots {
    case .system: unsafe SSL_CTX_set_default_verify_paths(tls.context)
    case .certificates(let source):
      let (bytes, name) = try Self.read(source, "CA")
      tls.trust(try Certificate.all(inPEM: bytes, name: name))
    }
    if let credential = configuration.credential {
      let (certificate, certificateName) = try Self.read(credential.certificate, "TLS certificate")
      let (key, keyName) = try Self.read(credential.key, "TLS key")
      let credential = try TLSCredential(
        certificate: certificate, called: certificateName, key: key, called: keyName, now: .now)
      try tls.use(credential.chain, credential.key)
    }
    unsafe SSL_CTX_set_verify(
      tls.context, configuration.insecureSkipsVerification ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
      configuration.insecureSkipsVerification ? nil : TLSStream.rememberProblem)
    unsafe SSL_CTX_set_info_callback(tls.context, TLSStream.countControl)
    unsafe SSL_CTX_ctrl(
      tls.context, SSL_CTRL_SET_SESS_CACHE_MODE,
      Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL), nil)
    unsafe SSL_CTX_sess_set_new_cb(tls.context) { ssl, session in
      guard let stream = unsafe TLSStream.of(ssl), case .client(let client) = stream.side,
        let session = unsafe session
      else { return 0 }
      // 1: the reference is ours now.
      client.keep(unsafe Session(owning: session), peer: stream.peer)
      return 1
    }
  }

  private static func read(
    _ source: TLSClientConfiguration.Source, _ what: String
  ) throws(TLSError) -> (bytes: [UInt8], name: String) {
    switch source {
    case .file(let path): (try PEMFile(path, what: what).bytes, "The \(what) file \(path)")
    case .pem(let text): (Array(text.utf8), "The \(what) given as text")
    }
  }

  /// Tells a new connection whom it expects, and what it may resume.
  func prepare(_ ssl: OpaquePointer, peer: String) {
    if isAddress {
      unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), serverName)
    } else {
      // SSL_set_tlsext_host_name. An address is no name: RFC 6066 section 3.
      _ = unsafe serverName.withCString { name in
        unsafe SSL_ctrl(
          ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name),
          UnsafeMutableRawPointer(mutating: name))
      }
      unsafe SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
      unsafe SSL_set1_host(ssl, serverName)
    }
    let protocols = [UInt8(TLSContext.protocolName.count)] + TLSContext.protocolName
    unsafe SSL_set_alpn_protos(ssl, protocols, UInt32(protocols.count))
    if let session = take(peer: peer) { unsafe SSL_set_session(ssl, session.session) }
    ERR_clear_error()
  }

  // MARK: Sessions

  /// A session that can be resumed.
  ///
  /// `@unchecked Sendable`: immutable; OpenSSL's own reference counts are atomic.
  @safe private final class Session: @unchecked Sendable {
    let session: OpaquePointer

    init(owning session: OpaquePointer) {
      unsafe self.session = unsafe session
    }

    deinit {
      unsafe SSL_SESSION_free(session)
    }

    /// Whether it may be used again and again. RFC 8446 appendix C.4 wants each ticket used once.
    var isReusable: Bool { unsafe SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION }
  }

  private func keep(_ session: Session, peer: String) {
    sessions.withLock { sessions in
      if sessions.count >= Self.maximumSessions, sessions[peer] == nil { sessions.removeAll() }
      sessions[peer] = session
    }
  }

  private func take(peer: String) -> Session? {
    sessions.withLock { sessions in
      guard let session = sessions[peer] else { return nil }
      if !session.isReusable { sessions[peer] = nil }
      return session
    }
  }
}
