import KeelsonCore
import KeelsonPostgres
import KeelsonSQLite
import KeelsonTransport

extension ServerSettings {
  /// What to listen on, and what each is called once it serves.
  ///
  /// - Parameter certificates: what the TCP addresses are secured with; nil: nothing.
  /// - Throws: an error that says what to change, for an address that is none, and for one that
  ///   other machines reach without TLS, unless that was allowed.
  func checkedListeners(
    _ certificates: TLSServerCertificates?
  ) throws -> [(listener: ListenerConfiguration, kind: ServedAddress.Kind)] {
    try listen.map { text in
      let address = try ListenAddress(parsing: text)
      if let certificates, !address.isUnix {
        return (ListenerConfiguration(address, security: .tls(certificates)), kindOfTLS)
      }
      try checkReach(of: address, text, isSecured: false)
      return (ListenerConfiguration(address), .plaintext)
    }
      + probeListen.map { text in
        let address = try ListenAddress(parsing: text)
        return (
          ListenerConfiguration(address, services: .only(Self.probeService)), .probe
        )
      }
  }

  /// - Throws: an error that says what to change, when other machines reach an address and nothing
  ///   would be encrypted.
  func checkReach(of address: ListenAddress, _ text: String, isSecured: Bool) throws(RPCError) {
    guard allowsInsecureRemote || isSecured || address.isLocal else {
      throw RPCError(
        .failedPrecondition,
        "\(text) can be reached from other machines, and nothing would be encrypted: give "
          + "--tls-certificate and --tls-key ('keelson certs dev' makes them for development), "
          + "listen on 127.0.0.1, [::1] or unix:/path, or say --insecure-remote-plaintext.")
    }
  }

  /// The source of the events.
  ///
  /// - Throws: an error that says what to change when it is no URI reference.
  func checkedEventSource() throws -> String {
    let source = eventSource ?? "/keelson/\(environment)"
    let isReference =
      !source.isEmpty && source.utf8.count <= 512
      && source.utf8.allSatisfy { (0x21...0x7E).contains($0) && !"\"<>\\^`{|}".utf8.contains($0) }
    guard isReference else {
      throw RPCError(
        .invalidArgument,
        "--event-source takes a URI reference of 1 to 512 bytes, '/keelson/production' or "
          + "'https://keelson.example.org' for example; '\(source.prefix(64))' is none.")
    }
    return source
  }

  /// PostgreSQL at an address, with the limits of these settings.
  func postgres(_ url: String) -> PostgresConfiguration {
    var store = PostgresConfiguration(url: url)
    store.limits = limits.postgres
    store.limits.waitingWrites = limits.store.waitingWrites
    store.limits.waitingReads = limits.store.waitingReads
    return store
  }

  /// What a probe listener serves.
  private static let probeService = "grpc.health.v1.Health"

  private var kindOfTLS: ServedAddress.Kind {
    switch tls?.clientAuthentication ?? .none {
    case .none: .tls
    case .optional: .mutualTLS(isRequired: false)
    case .required: .mutualTLS(isRequired: true)
    }
  }
}
