package import KeelsonCache
package import KeelsonCore
package import KeelsonTransport

/// What an admin can set when starting the server.
package struct ServerSettings: Sendable {
  /// Addresses to listen on: `127.0.0.1:7400`, `[::1]:7400` or `unix:/path`. Port 0 takes any
  /// free one.
  package var listen: [String] = ["127.0.0.1:7400"]
  /// How the TCP addresses are secured; nil: not at all. Unix sockets are guarded by the
  /// permissions of their files.
  package var tls: TLSServerConfiguration?
  /// Addresses that serve `grpc.health.v1` only, without TLS: for the probes of whatever runs the
  /// server. Any other machine may reach them.
  package var probeListen: [String] = []
  /// The folder of the embedded store; made when it is not there.
  package var dataFolder = "./keelson-data"
  /// The address of a PostgreSQL database, `postgres://user:password@host:port/database`; nil: the
  /// embedded store.
  package var database: String?
  /// The same database, as the user that owns its tables, for migrations; nil: `database` is.
  package var databaseOwner: String?
  /// The address of a Redis that the servers share as their cache,
  /// `redis://user:password@host:port/database`; nil: each server's own memory.
  package var cache: String?
  /// Where the values of warm sets may be loaded from.
  package var cacheWarmOrigins: Set<WarmOrigin> = []
  /// The PEM file with the authorities of those hosts; nil: those that the system trusts.
  package var cacheWarmCAFile: String?
  /// The PEM file with the key that signs checkpoints and archives of the audit trail; nil: in the
  /// data folder. Made when it is missing.
  package var auditSigningKeyFile: String?
  /// The PEM file with other keys whose archives and checkpoints count; nil: its own alone does.
  package var auditTrustedKeysFile: String?
  /// The folder of the audit trail's archives; nil: in the data folder.
  package var auditArchiveFolder: String?
  /// The default environment.
  package var environment = "development"
  /// The CloudEvents source of the events, a URI reference; nil: `/keelson/` and the environment.
  package var eventSource: String?
  /// Whether plaintext may be served on addresses that other machines reach.
  package var allowsInsecureRemote = false
  /// Whether clients may ask for the services and messages there are (`grpc.reflection.v1`).
  package var servesReflection = true
  package var logLevel: Logger.Level = .info
  /// How long running calls get to finish after SIGTERM before they are cancelled.
  package var drainGrace: Duration = .seconds(10)
  /// How many loops serve connections; nil: one for each core.
  package var loops: Int?
  package var limits = ServerLimits()
  /// Where the layers of applications' configuration are.
  package var applications: [ApplicationSettings] = []
  /// Where the keys are that wrap data keys.
  package var encryption = EncryptionSettings()

  package init() {}
}
