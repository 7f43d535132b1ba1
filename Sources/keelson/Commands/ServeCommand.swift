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
      was acknowledged is on disk. Settings come from appsettings.json, from \
      appsettings.<Environment>.json, from secret stores, from environment variables \
      (KEELSON__Section__Key) and from these options, the later ahead of the earlier; \
      'keelson config check --show' says which gave what. SIGHUP reads them again.
      """,
    options: [
      SettingOptions.config,
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
        name: "database-owner", value: "URL",
        help: "The same database as the user that owns its tables, to make and change them; "
          + "--database then names a user that only reads and writes.",
        environmentVariable: "KEELSON_DATABASE_OWNER"),
      .init(
        name: "cache", value: "URL",
        help:
          "A Redis that all servers share as their cache: redis://user:password@host:port/database, "
          + "or rediss:// with TLS. Without: each server's own memory."),
      .init(
        name: "cache-warm-origin", value: "ORIGIN",
        help:
          "Where values of warm sets may be loaded from, https://host[:port] or http://; nowhere "
          + "when not given.", isRepeatable: true),
      .init(
        name: "audit-signing-key", value: "FILE",
        help: "The Ed25519 key that signs checkpoints and archives of the audit trail, PEM; made "
          + "when it is missing. Without: audit-signing-key.pem in the data folder."),
      .init(
        name: "audit-trusted-keys", value: "FILE",
        help: "Public keys, PEM, of other servers and of earlier signing keys whose archives and "
          + "checkpoints count too. Without: this server's own key alone."),
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
    try check(invocation)
    do {
      let server = try await KeelsonServer(
        configuration: invocation.option("config"), variables: SettingOptions.variables,
        options: SettingOptions.layer(invocation))
      try await server.run { addresses in
        for address in addresses {
          // Who reads it is gone, or its disk is full: that ends no server.
          try? Output.line("Keelson \(KeelsonVersion.current) is serving \(address)")
        }
      }
    } catch let error as SettingsError {
      throw RPCError(
        .failedPrecondition,
        "\(error)\nCorrect that and start again; 'keelson config check' checks without starting.")
    }
  }

  /// What cannot be meant on the command line, whatever the other layers say.
  private static func check(_ invocation: Invocation) throws {
    _ = try invocation.integer("loops", as: Int.self)
    _ = try invocation.integer("drain-seconds", as: UInt32.self)
    var limits = ServerLimits()
    do throws(RPCError) {
      if let list = SettingOptions.variables["KEELSON_LIMITS"] { try limits.set(list: list) }
      for assignment in invocation.all("limit") { try limits.set(assignment) }
    } catch {
      throw UsageError(error.message)
    }
  }
}
