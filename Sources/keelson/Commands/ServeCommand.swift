import Glibc
import KeelsonCore
import KeelsonServer
import KeelsonTransport

/// `keelson serve`: the server itself.
enum ServeCommand {
  static let command = Command(
    name: "serve", summary: "Run the server",
    discussion: """
      Serves until SIGTERM or SIGINT; then running calls get their grace time, and everything that \
      was acknowledged is on disk.
      """,
    options: [
      .init(
        name: "listen", value: "ADDRESS",
        help:
          "Where to listen: 127.0.0.1:7400, [::1]:7400 or unix:/path; port 0 takes any free one.",
        defaultValue: "127.0.0.1:7400", isRepeatable: true),
      .init(
        name: "tls-certificate", value: "FILE",
        help: "The server's certificate and those that lead to its root, PEM: secures all TCP "
          + "addresses. Read anew when it changes."),
      .init(
        name: "tls-key", value: "FILE", help: "The private key of the certificate, PEM."),
      .init(
        name: "tls-client-ca", value: "FILE",
        help: "Who may have issued the clients' certificates, PEM."),
      .init(
        name: "tls-client-auth", value: "MODE",
        help: "Whether clients show a certificate; required when --tls-client-ca is given.",
        choices: TLSServerConfiguration.ClientAuthentication.allCases.map(\.rawValue)),
      .init(
        name: "probe-listen", value: "ADDRESS",
        help: "Where grpc.health.v1, and nothing else, is served without TLS, for probes.",
        isRepeatable: true),
      .init(
        name: "data", value: "FOLDER", help: "Where the data is kept; made when it is not there.",
        defaultValue: "./keelson-data", environmentVariable: "KEELSON_DATA"),
      .init(
        name: "database", value: "URL",
        help: "A PostgreSQL database to keep the data in instead, for several servers: "
          + "postgres://user:password@host:port/database?sslmode=verify-full.",
        environmentVariable: "KEELSON_DATABASE"),
      .init(
        name: "audit-signing-key", value: "FILE",
        help: "The Ed25519 key that signs checkpoints and archives of the audit trail, PEM; made "
          + "when it is missing. Without: audit-signing-key.pem in the data folder."),
      .init(
        name: "audit-archives", value: "FOLDER",
        help: "Where archives of the audit trail are put. Without: audit-archives in the data "
          + "folder."),
      .init(
        name: "environment", value: "NAME",
        help: "The environment that a request means which names none.",
        defaultValue: "development", environmentVariable: "KEELSON_ENVIRONMENT"),
      .init(
        name: "event-source", value: "URI",
        help: "Where events say that they happened; /keelson/ENVIRONMENT when not given."),
      .init(
        name: "insecure-remote-plaintext",
        help: "Serve without encryption on addresses that other machines reach."),
      .init(
        name: "no-reflection",
        help: "Do not tell clients which services and messages there are."),
      .init(
        name: "log-level", value: "LEVEL", help: "The least level that is logged.",
        defaultValue: "info", choices: Logger.Level.allCases.map(\.rawValue)),
      .init(
        name: "loops", value: "N",
        help: "How many threads serve connections; one for each core when not given."),
      .init(
        name: "drain-seconds", value: "SECONDS",
        help: "How long running calls get to finish when stopping.", defaultValue: "10"),
      .init(
        name: "limit", value: "NAME=VALUE",
        help: "Sets a limit, ahead of KEELSON_LIMITS; 'keelson limits' lists them.",
        isRepeatable: true),
    ]
  ) { invocation in
    var settings = ServerSettings()
    settings.listen = invocation.all("listen")
    settings.tls = try tls(invocation)
    settings.probeListen = invocation.all("probe-listen")
    settings.dataFolder = invocation.option("data") ?? settings.dataFolder
    settings.database = invocation.option("database")
    settings.auditSigningKeyFile = invocation.option("audit-signing-key")
    settings.auditArchiveFolder = invocation.option("audit-archives")
    settings.environment = invocation.option("environment") ?? settings.environment
    settings.eventSource = invocation.option("event-source")
    settings.allowsInsecureRemote = invocation.has("insecure-remote-plaintext")
    settings.servesReflection = !invocation.has("no-reflection")
    settings.logLevel =
      invocation.option("log-level").flatMap(Logger.Level.init) ?? settings.logLevel
    settings.loops = try invocation.integer("loops")
    if let loops = settings.loops, !(1...1_024).contains(loops) {
      throw UsageError("--loops takes a number from 1 to 1024.")
    }
    guard let grace = try invocation.integer("drain-seconds", as: Int.self), grace >= 0 else {
      throw UsageError("--drain-seconds takes a number from 0.")
    }
    settings.drainGrace = .seconds(grace)
    settings.limits = try limits(invocation.all("limit"))
    try await KeelsonServer(settings: settings).run { addresses in
      for address in addresses {
        Output.line("Keelson \(KeelsonVersion.current) is serving \(address)")
      }
    }
  }

  /// How to secure the addresses; nil: not at all.
  private static func tls(_ invocation: Invocation) throws -> TLSServerConfiguration? {
    guard let certificate = invocation.option("tls-certificate") else {
      for name in ["tls-key", "tls-client-ca", "tls-client-auth"] where invocation.has(name) {
        throw UsageError("--\(name) needs --tls-certificate as well.")
      }
      return nil
    }
    guard let key = invocation.option("tls-key") else {
      throw UsageError("--tls-certificate needs --tls-key as well.")
    }
    var tls = TLSServerConfiguration(certificateFile: certificate, keyFile: key)
    tls.clientCAFile = invocation.option("tls-client-ca")
    let mode = invocation.option("tls-client-auth").flatMap(
      TLSServerConfiguration.ClientAuthentication.init)
    tls.clientAuthentication = mode ?? (tls.clientCAFile == nil ? .none : .required)
    guard (tls.clientAuthentication == .none) == (tls.clientCAFile == nil) else {
      throw UsageError(
        tls.clientCAFile == nil
          ? "--tls-client-auth \(tls.clientAuthentication.rawValue) needs --tls-client-ca as well."
          : "--tls-client-ca has no use with --tls-client-auth none.")
    }
    return tls
  }

  /// The limits as the environment sets them and then the options.
  private static func limits(_ assignments: [String]) throws -> ServerLimits {
    var limits = ServerLimits()
    do throws(RPCError) {
      if let list = unsafe getenv("KEELSON_LIMITS") {
        try limits.set(list: unsafe String(cString: list))
      }
      for assignment in assignments { try limits.set(assignment) }
    } catch {
      throw UsageError(error.message)
    }
    return limits
  }
}
