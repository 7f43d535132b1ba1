package import KeelsonConfigurationRules
import KeelsonCore
import KeelsonTransport

/// The rules of Keelson's own settings: every one that there is. docs/operations.md has the same
/// rows.
package enum ServerSchema {
  /// What begins the names of the environment variables that are settings.
  package static let variablePrefix = "KEELSON__"

  package static let schema = ConfigurationSchema(
    server + tls + files + vault + azure + encryption + applications + limits, isClosed: true)

  /// The options of `keelson serve` that say the same as a setting.
  package static let options: [String: String] = [
    SettingName.environment: "environment", SettingName.listen: "listen",
    SettingName.probeListen: "probe-listen", SettingName.data: "data",
    SettingName.auditSigningKeyFile: "audit-signing-key",
    SettingName.auditTrustedKeysFile: "audit-trusted-keys",
    SettingName.auditArchiveFolder: "audit-archives",
    SettingName.database: "database", SettingName.databaseOwner: "database-owner",
    SettingName.cache: "cache", SettingName.cacheWarmOrigins: "cache-warm-origin",
    SettingName.eventSource: "event-source",
    SettingName.insecureRemotePlaintext: "insecure-remote-plaintext",
    SettingName.reflection: "no-reflection", SettingName.loops: "loops",
    SettingName.drainTimeout: "drain-seconds", SettingName.logLevel: "log-level",
    SettingName.TLS.certificateFile: "tls-certificate", SettingName.TLS.keyFile: "tls-key",
    SettingName.TLS.clientCAFile: "tls-client-ca",
    SettingName.TLS.clientAuthentication: "tls-client-auth",
  ]

  /// The environment variables from before there were `KEELSON__` ones. Those go ahead.
  package static let olderVariables: [String: String] = [
    "KEELSON_DATA": SettingName.data, "KEELSON_DATABASE": SettingName.database,
    "KEELSON_DATABASE_OWNER": SettingName.databaseOwner,
    "KEELSON_ENVIRONMENT": SettingName.environment,
  ]

  /// One setting for people.
  package struct Row: Sendable, Equatable {
    package let key: String
    /// The option of `keelson serve`, or nothing.
    package let option: String
    package let type: String
    /// Empty: none.
    package let defaultValue: String
    package let what: String
  }

  /// All settings but the limits, which have a table of their own, in the order of this file.
  package static let rows: [Row] = schema.rules.filter { !$0.key.text.hasPrefix("Limits:") }
    .map { rule in
      Row(
        key: rule.key.text, option: options[rule.key.text].map { "--\($0)" } ?? "",
        type: rule.type.rawValue, defaultValue: rule.defaultValue?.text ?? "",
        what: rule.description)
    }

  private static let server: [SettingRule] = [
    rule(
      SettingName.environment, .string, .string("development"),
      "The environment that a request means which names none, and that picks "
        + "`appsettings.<Environment>.json`.", minimumLength: 1),
    rule(
      SettingName.listen, .list, .list(["127.0.0.1:7400"]),
      "Where to listen: `host:port`, `[::1]:port` or `unix:/path`; port 0 takes a free one.",
      minimumLength: 1),
    rule(
      SettingName.probeListen, .list, nil,
      "Where `grpc.health.v1`, and nothing else, is served without TLS, for probes."),
    rule(
      SettingName.data, .string, .string("./keelson-data"),
      "The folder of the embedded store; made when it is not there.", minimumLength: 1),
    rule(
      SettingName.database, .string, nil,
      "A PostgreSQL database to keep the data in instead, for several servers: "
        + "`postgres://user:password@host:port/database?sslmode=verify-full`.", isSensitive: true),
    rule(
      SettingName.databaseOwner, .string, nil,
      "The same database as the user that owns its tables, to make and change them; "
        + "`Database` then names a user that only reads and writes.", isSensitive: true),
    rule(
      SettingName.cache, .string, nil,
      "A Redis that all servers share as their cache, `redis://user:password@host:port/database` or "
        + "`rediss://` with TLS; each server's own memory when not set.", isSensitive: true),
    rule(
      SettingName.cacheWarmOrigins, .list, nil,
      "Where the values of warm sets may be loaded from: `https://host[:port]` or `http://`; nowhere "
        + "when not set."),
    rule(
      SettingName.cacheWarmCAFile, .string, nil,
      "The authority of those hosts' certificates, PEM; those that the system trusts when not set."),
    rule(
      SettingName.eventSource, .string, nil,
      "Where events say that they happened; `/keelson/` and the environment when not set."),
    rule(
      SettingName.auditSigningKeyFile, .string, nil,
      "Signs checkpoints and archives, PEM; made when missing. `audit-signing-key.pem` in the data "
        + "folder when not set."),
    rule(
      SettingName.auditTrustedKeysFile, .string, nil,
      "Public keys, PEM, of other servers and of earlier signing keys whose archives and checkpoints "
        + "count too; this server's own key alone when not set."),
    rule(
      SettingName.auditArchiveFolder, .string, nil,
      "Where archives go; made when missing. `audit-archives` in the data folder when not set."),
    rule(
      SettingName.insecureRemotePlaintext, .boolean, .boolean(false),
      "Serve without encryption on addresses that other machines reach."),
    rule(
      SettingName.reflection, .boolean, .boolean(true),
      "Tell clients which services and messages there are."),
    rule(
      SettingName.loops, .integer, nil,
      "How many threads serve connections; one for each core when not set.", 1, 1_024),
    rule(
      SettingName.drainTimeout, .duration, .duration(.seconds(10)),
      "How long running calls get to finish when stopping. Changes at once.",
      minimum: .duration(.zero), maximum: .duration(.seconds(86_400))),
    rule(
      SettingName.logLevel, .string, .string("info"),
      "The least level that is logged. Changes at once.",
      allowed: Logger.Level.allCases.map(\.rawValue)),
  ]

  private static let tls: [SettingRule] = [
    rule(
      SettingName.TLS.certificateFile, .string, nil,
      "The server's certificate and those that lead to its root, PEM. Read anew when it changes."),
    rule(
      SettingName.TLS.keyFile, .string, nil, "The private key of the certificate, PEM."),
    rule(
      SettingName.TLS.clientCAFile, .string, nil,
      "Who may have issued the clients' certificates, PEM."),
    rule(
      SettingName.TLS.clientAuthentication, .string, nil,
      "Whether clients show a certificate; `required` when there is a client CA, else `none`.",
      allowed: TLSServerConfiguration.ClientAuthentication.allCases.map(\.rawValue)),
  ]

  private static let files: [SettingRule] = [
    rule(
      SettingName.Files.folder, .string, nil,
      "A folder with a file for each secret, as Kubernetes mounts them; read anew when it changes."
    ),
    optional(SettingName.Files.isOptional),
  ]

  private static let vault: [SettingRule] = [
    rule(SettingName.Vault.address, .string, nil, "HashiCorp Vault, `https://host:8200`."),
    rule(
      SettingName.Vault.token, .string, nil, "A token of Vault's; better in a file.",
      isSensitive: true),
    rule(
      SettingName.Vault.tokenFile, .string, nil,
      "A file with a token, as Vault's agent writes it; read anew when it changes."),
    rule(
      SettingName.Vault.role, .string, nil,
      "The role for Vault's Kubernetes auth method, in place of a token."),
    rule(
      SettingName.Vault.serviceAccountFile, .string,
      .string("/var/run/secrets/kubernetes.io/serviceaccount/token"),
      "The JWT of the pod's service account."),
    rule(
      SettingName.Vault.authenticationMount, .string, .string("kubernetes"),
      "Where the Kubernetes auth method is mounted."),
    rule(SettingName.Vault.namespace, .string, nil, "The namespace (Vault Enterprise, HCP)."),
    rule(
      SettingName.Vault.mount, .string, .string("secret"),
      "Where the key-value engine (version 2) is mounted."),
    rule(
      SettingName.Vault.path, .string, nil,
      "The secret whose members are settings; without it Vault is used for keys only."),
    rule(
      SettingName.Vault.version, .integer, nil,
      "The version of the secret; the newest when not set.", 1, 1 << 31),
    rule(SettingName.Vault.caFile, .string, nil, "The authority of Vault's certificate, PEM."),
    proxy(SettingName.Vault.proxy),
    timeout(SettingName.Vault.timeout), interval(SettingName.Vault.reloadInterval),
    optional(SettingName.Vault.isOptional), plaintext(SettingName.Vault.insecurePlaintext),
  ]

  private static let azure: [SettingRule] = [
    rule(
      SettingName.Azure.vault, .string, nil,
      "Azure Key Vault, `https://name.vault.azure.net`; `--` in a secret's name is `:`."),
    rule(SettingName.Azure.tenant, .string, nil, "The tenant's id or domain."),
    rule(SettingName.Azure.client, .string, nil, "The application's (client's) id."),
    rule(
      SettingName.Azure.clientSecret, .string, nil, "The application's secret; better in a file.",
      isSensitive: true),
    rule(
      SettingName.Azure.clientSecretFile, .string, nil, "A file with the application's secret."),
    rule(
      SettingName.Azure.authority, .string, .string("https://login.microsoftonline.com"),
      "Where tokens are had.", .uri),
    rule(
      SettingName.Azure.scope, .string, .string("https://vault.azure.net/.default"),
      "What the token is for."),
    rule(SettingName.Azure.caFile, .string, nil, "The authority of the certificates, PEM."),
    proxy(SettingName.Azure.proxy),
    timeout(SettingName.Azure.timeout), interval(SettingName.Azure.reloadInterval),
    optional(SettingName.Azure.isOptional), plaintext(SettingName.Azure.insecurePlaintext),
  ]

  private static let encryption: [SettingRule] = [
    rule(
      SettingName.Encryption.keyPath, .string, nil,
      "A folder with a file `<id>.key` for each key, or one file. With the embedded store, "
        + "`keys` in the data folder when nothing is set."),
    rule(
      "\(SettingName.Encryption.keys):*", .string, nil,
      "A key by its id: 32 bytes as 64 hexadecimal digits or base64.", isSensitive: true),
    rule(
      SettingName.Encryption.currentKey, .string, nil,
      "The id of the key that is used; the newest when not set."),
    rule(
      SettingName.Encryption.transitKey, .string, nil,
      "The key in Vault's transit engine, in place of keys of our own."),
    rule(
      SettingName.Encryption.transitMount, .string, .string("transit"),
      "Where the transit engine is mounted."),
  ]

  private static let applications: [SettingRule] = [
    application(
      SettingName.Application.folder, .string,
      "The folder with an application's `appsettings.json` and `appsettings.<Environment>.json`. "
        + "Here and below, `{environment}` stands for the environment."),
    application(
      SettingName.Application.environments, .list,
      "The environments that it has layers in; when not set, the server's own and those that the "
        + "folder has files for."),
    application(
      SettingName.Application.variablePrefix, .string,
      "What begins the names of its variables in the server's environment: `SHOP__`."),
    application(
      SettingName.Application.secretSection, .string,
      "The section of Keelson's own secret stores that is the application's, in the server's "
        + "environment."),
    application(
      SettingName.Application.secretFolder, .string, "A folder with a file for each secret of it."),
    application(
      SettingName.Application.vaultPath, .string,
      "Its secret in Vault, read with what `Secrets:Vault` says."),
    application(
      SettingName.Application.azureVault, .string,
      "Its Azure Key Vault, read with what `Secrets:Azure` says."),
  ]

  private static let limits: [SettingRule] = ServerLimits.all.map(\.rule)

  // MARK: Rows

  private static func rule(
    _ key: String, _ type: SettingType, _ defaultValue: SettingValue?, _ description: String,
    _ format: SettingFormat? = nil, minimum: SettingValue? = nil, maximum: SettingValue? = nil,
    minimumLength: Int? = nil, allowed: [String] = [], isSensitive: Bool = false
  ) -> SettingRule {
    guard let pattern = KeyPattern(key) else {
      preconditionFailure("The keys of the schema are written in this file, and are well formed.")
    }
    return SettingRule(
      key: pattern, type: type, defaultValue: defaultValue, format: format, minimum: minimum,
      maximum: maximum, minimumLength: minimumLength,
      allowedValues: allowed.map { .string($0) }, isSensitive: isSensitive,
      description: description)
  }

  private static func rule(
    _ key: String, _ type: SettingType, _ defaultValue: SettingValue?, _ description: String,
    _ minimum: Int64, _ maximum: Int64
  ) -> SettingRule {
    rule(
      key, type, defaultValue, description, minimum: .integer(minimum), maximum: .integer(maximum))
  }

  private static func application(
    _ key: String, _ type: SettingType, _ description: String
  ) -> SettingRule {
    rule("\(SettingName.Application.section):*:\(key)", type, nil, description)
  }

  private static func optional(_ key: String) -> SettingRule {
    rule(key, .boolean, .boolean(false), "Start although it cannot be read.")
  }

  private static func plaintext(_ key: String) -> SettingRule {
    rule(
      key, .boolean, .boolean(false), "Send secrets unencrypted to another machine: http:// there.")
  }

  /// A proxy's address may have a password in it.
  private static func proxy(_ key: String) -> SettingRule {
    rule(
      key, .string, nil, "The proxy on the way; none when not set.", .uri, isSensitive: true)
  }

  private static func timeout(_ key: String) -> SettingRule {
    rule(
      key, .duration, .duration(.seconds(15)), "How long a request may take.",
      minimum: .duration(.milliseconds(1)), maximum: .duration(.seconds(300)))
  }

  private static func interval(_ key: String) -> SettingRule {
    rule(
      key, .duration, .duration(.seconds(300)), "How often it is read again.",
      minimum: .duration(.seconds(1)), maximum: .duration(.seconds(86_400)))
  }
}
