import COpenSSL
import KeelsonCore
import Synchronization

/// What the TLS connections of one channel share: whom they trust, which name they expect, and
/// the sessions that can be resumed.
///
/// `@unchecked Sendable`: immutable, but for what a Mutex guards.
@safe package final class TLSClientContext: @unchecked Sendable {
  /// Sessions with more addresses than this are forgotten.
  private static let maximumSessions = 64

  private let configuration: TLSClientConfiguration
  /// Whether the connections are for HTTP/2, which is then chosen by ALPN.
  let speaksHTTP2: Bool
  /// The hosts of the target: names, and addresses in numbers.
  private let names: [String]
  private let addresses: Set<String>

  private struct State {
    var tls: TLSContext
    /// The files as they were when they were last read, taken over or not.
    var seen: [FileSignature?]
    var sessions: [String: Session] = [:]
  }
  private let state: Mutex<State>

  /// Reads files and checks all.
  ///
  /// - Throws: ``TLSError`` whose sentence names what cannot be used and why.
  package init(
    _ configuration: TLSClientConfiguration, target: Target, speaksHTTP2: Bool = true
  ) throws(TLSError) {
    self.configuration = configuration
    self.speaksHTTP2 = speaksHTTP2
    var names: [String] = []
    var addresses: Set<String> = []
    for endpoint in target.endpoints {
      switch endpoint {
      case .name(let host, _): names.append(host)
      case .numeric(let host, _): addresses.insert(host)
      case .unix: break
      }
    }
    self.names = names
    self.addresses = addresses
    let seen = Self.signatures(configuration)
    state = Mutex(State(tls: try Self.makeContext(configuration), seen: seen))
  }

  /// What new connections begin with.
  var tls: TLSContext { state.withLock { $0.tls } }

  /// Looks at the files, which takes microseconds, ahead of a new connection. Files that changed
  /// are taken if they are good together; otherwise what there was goes on being used, and if it
  /// is no good any more the server will say so.
  func reloadIfChanged() {
    let now = Self.signatures(configuration)
    let hasChanged = state.withLock { state in
      defer { state.seen = now }
      return state.seen != now
    }
    guard hasChanged else { return }
    do throws(TLSError) {
      let tls = try Self.makeContext(configuration)
      // Whoever was accepted by other roots is asked again.
      state.withLock { state in
        state.tls = tls
        state.sessions = [:]
      }
    } catch {}
  }

  private static func signatures(_ configuration: TLSClientConfiguration) -> [FileSignature?] {
    var sources: [TLSClientConfiguration.Source] = []
    if case .certificates(let source) = configuration.trustRoots { sources.append(source) }
    if let credential = configuration.credential {
      sources += [credential.certificate, credential.key]
    }
    return sources.map { source in
      guard case .file(let path) = source else { return nil }
      return FileSignature(path: path)
    }
  }

  private static func makeContext(
    _ configuration: TLSClientConfiguration
  ) throws(TLSError) -> TLSContext {
    let tls = unsafe try TLSContext(TLS_client_method())
    switch configuration.trustRoots {
    case .system: unsafe SSL_CTX_set_default_verify_paths(tls.context)
    case .certificates(let source):
      let (bytes, name) = try read(source, "CA")
      tls.trust(try Certificate.all(inPEM: bytes, name: name))
    }
    if let credential = configuration.credential {
      let (certificate, certificateName) = try read(credential.certificate, "TLS certificate")
      let (key, keyName) = try read(credential.key, "TLS key")
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
      guard let stream = unsafe TLSStream.of(ssl), case .client(let client, _) = stream.side,
        let session = unsafe session
      else { return 0 }
      let owned = unsafe Session(owning: session)
      unsafe client.keep(owned, peer: stream.peer, of: SSL_get_SSL_CTX(ssl))
      // The reference is ours now.
      return 1
    }
    return tls
  }

  private static func read(
    _ source: TLSClientConfiguration.Source, _ what: String
  ) throws(TLSError) -> (bytes: [UInt8], name: String) {
    switch source {
    case .file(let path): (try PEMFile(path, what: what).bytes, "The \(what) file \(path)")
    case .pem(let text): (Array(text.utf8), "The \(what) given as text")
    }
  }

  /// What the certificate of the server at an address has to be for: the address itself if the
  /// target has it in numbers, otherwise one of the target's names.
  func expected(at peer: SocketAddress?) -> [String] {
    if let name = configuration.serverName { return [name] }
    switch peer?.kind {
    case .ipv4(let host, _) where addresses.contains(host): return [host]
    case .ipv6(let host, _) where addresses.contains(host): return [host]
    default: return names
    }
  }

  /// Tells a new connection whom it expects, and what it may resume.
  ///
  /// - Parameter expected: see ``expected(at:)``.
  /// - Throws: ``TLSError`` when there is nothing that the certificate can be compared with:
  ///   OpenSSL would then accept one for any name.
  func prepare(_ ssl: OpaquePointer, expected: [String], peer: String) throws(TLSError) {
    // A zone (fe80::1%eth0) is this machine's business and stands in no certificate.
    let first = String((expected.first ?? "").prefix { $0 != "%" })
    var isExpectationSet = !expected.contains("") && !first.isEmpty
    if SocketAddress(numericHost: first, port: 1) != nil {
      if unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), first) != 1 {
        isExpectationSet = false
      }
    } else if !first.isEmpty {
      // SSL_set_tlsext_host_name. An address is no name: RFC 6066 section 3.
      _ = unsafe first.withCString { name in
        unsafe SSL_ctrl(
          ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name),
          UnsafeMutableRawPointer(mutating: name))
      }
      // The subject's common name is no host name: RFC 9525 section 2.
      unsafe SSL_set_hostflags(
        ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT))
      if unsafe SSL_set1_host(ssl, first) != 1 { isExpectationSet = false }
      for name in expected.dropFirst() where unsafe SSL_add1_host(ssl, name) != 1 {
        isExpectationSet = false
      }
    }
    guard isExpectationSet || configuration.insecureSkipsVerification else {
      ERR_clear_error()
      throw TLSError(
        .untrustedPeer,
        "There is no name or address that the server's certificate could be for: set the server "
          + "name.")
    }
    if speaksHTTP2 {
      let protocols = [UInt8(TLSContext.protocolName.count)] + TLSContext.protocolName
      unsafe SSL_set_alpn_protos(ssl, protocols, UInt32(protocols.count))
    }
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

  private func keep(_ session: Session, peer: String, of context: OpaquePointer?) {
    state.withLock { state in
      // The connection may be one from before the files changed.
      guard unsafe state.tls.context == context else { return }
      if state.sessions.count >= Self.maximumSessions, state.sessions[peer] == nil {
        state.sessions = [:]
      }
      state.sessions[peer] = session
    }
  }

  private func take(peer: String) -> Session? {
    state.withLock { state in
      guard let session = state.sessions[peer] else { return nil }
      if !session.isReusable { state.sessions[peer] = nil }
      return session
    }
  }
}
