// Whoever imports KeelsonClient meets these modules in its API: messages and stubs (KeelsonAPI),
// errors, metadata and JSON (KeelsonCore), contexts (KeelsonFlagRules), values of settings
// (KeelsonConfigurationRules). Exporting them makes one
// import enough, also for users whose package turns on MemberImportVisibility; type aliases would
// not make members visible. Of the transport, only what a configuration is made of is exported.
@_exported public import KeelsonAPI
@_exported public import KeelsonConfigurationRules
@_exported public import KeelsonCore
@_exported public import KeelsonFlagRules

@_exported public import class KeelsonTransport.AddressList
@_exported public import protocol KeelsonTransport.AddressResolver
@_exported public import struct KeelsonTransport.ConnectionBackoff
@_exported public import enum KeelsonTransport.LoadBalancingPolicy
@_exported public import struct KeelsonTransport.MethodConfig
@_exported public import struct KeelsonTransport.RetryPolicy
@_exported public import struct KeelsonTransport.RetryThrottling
@_exported public import struct KeelsonTransport.ServerAddress
@_exported public import struct KeelsonTransport.ServiceConfig
@_exported public import struct KeelsonTransport.TLSClientConfiguration

/// A service's connection to Keelson.
///
/// ```swift
/// let keelson = try await KeelsonClient.connect(to: "127.0.0.1:7400")
/// if keelson.flags.bool("new-checkout", default: false, context: ["targetingKey": "anna"]) { … }
/// ```
///
/// Make one for the life of the process and share it: it is safe to use from anywhere, keeps one
/// connection, or one to each server, and connects again by itself whenever that breaks.
/// ``shutdown()`` closes it.
public final class KeelsonClient: Sendable {
  /// Feature flags, evaluated in this process by the rules that the server pushes.
  public let flags: Flags
  /// The audit trail: recording what this service does, and reading what all have done.
  public let audit: Audit
  /// Everything the server's services can be told to do.
  public let admin: Admin
  /// What happens in Keelson, as it happens and looked up.
  public let events: Events
  /// Jobs that run in other processes.
  public let jobs: Jobs
  /// A cache that all services share, with copies in this process.
  public let cache: Cache
  /// How the server is.
  public let health: Health
  /// The connection, for generated clients of your own: `FlagServiceClient(channel:)` for
  /// example. Calls over it get the configured metadata and, when unary and without a timeout of
  /// their own, the default timeout.
  public let channel: any Channel

  private let store: FlagStore
  private let subscriptions = SubscriptionRegistry()
  private let settings = SettingsSubscriptions()
  private let environment: String?
  private let subscriptionPolicy: SubscriptionPolicy
  private let subscription: FlagSubscription?
  /// Whether no connection to the server can be made just now: tells an UNAVAILABLE of the
  /// channel's from one that the server itself has sent. Known of the client's own connection
  /// only; false over a channel that was handed in.
  package var isOutOfReach: Bool { ownConnection?.isOutOfReach ?? false }

  /// nil when the channel was handed in: that one is not this client's to close.
  private let ownConnection: ServerConnection?

  /// A client that connects in the background; returns at once.
  ///
  /// Until the first flags have arrived, evaluations give their defaults;
  /// ``Flags/waitUntilReady(timeout:)`` waits for them.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when the address cannot be read. A server
  ///   that cannot be reached is no error here.
  public convenience init(_ configuration: Configuration) throws {
    let connection = try ServerConnection(configuration)
    self.init(connection: connection, own: connection, configuration)
  }

  /// A client over a channel of yours: one within the process, for tests, or one of another kind.
  ///
  /// - Parameters:
  ///   - channel: stays yours: ``shutdown()`` leaves it open.
  ///   - configuration: what it says of the connection (`server`, `keepalive` and the like) is
  ///     not used.
  public convenience init(
    channel: any Channel, _ configuration: Configuration = Configuration()
  ) {
    self.init(connection: channel, own: nil, configuration)
  }

  private init(
    connection: any Channel, own ownConnection: ServerConnection?, _ configuration: Configuration
  ) {
    let preset = ClientInterceptor.preset(
      metadata: configuration.metadata, unaryTimeout: configuration.defaultTimeout)
    let channel = InterceptedChannel(
      connection, [preset, .propagation] + configuration.interceptors)
    let store = FlagStore(isSubscribed: configuration.subscribesToFlags)
    self.channel = channel
    self.store = store
    subscriptionPolicy = configuration.subscription
    environment = configuration.environment
    self.ownConnection = ownConnection
    flags = Flags(store: store, context: configuration.context)
    audit = Audit(
      channel: channel, policy: configuration.auditRecording, subscriptions: subscriptions,
      tailPolicy: configuration.subscription)
    events = Events(
      channel: channel, subscriptions: subscriptions, policy: configuration.subscription)
    admin = Admin(
      flags: KeelsonFlagsV1.FlagServiceClient(channel: channel),
      events: KeelsonEventsV1.EventServiceClient(channel: channel),
      audit: KeelsonAuditV1.AuditServiceClient(channel: channel),
      configuration: KeelsonConfigurationV1.ConfigurationServiceClient(channel: channel))
    jobs = Jobs(channel: channel)
    cache = Cache(core: CacheCore(channel: channel, configuration.cache))
    health = Health(channel: channel)
    if configuration.subscribesToFlags {
      let subscription = FlagSubscription(
        client: admin.flags, flagSet: configuration.flagSet,
        environment: configuration.environment ?? "", store: store,
        policy: configuration.subscription)
      subscription.start()
      self.subscription = subscription
    } else {
      subscription = nil
    }
  }

  deinit {
    // The connection closes by itself, with the last stub that uses it.
    subscription?.cancel()
  }

  /// A client that is connected and has its flags.
  ///
  /// - Parameters:
  ///   - server: `host:port`, `[::1]:7400`, `dns:///host:port` or `unix:/path`.
  ///   - tls: how the connection is secured; nil: not at all.
  ///   - environment: whose flags to evaluate; nil: the server's own.
  ///   - timeout: how long to go on trying. A server that is just starting is waited for.
  /// - Throws: ``RPCError`` whose message says what to do: INVALID_ARGUMENT for an address that
  ///   cannot be read, UNAVAILABLE when nothing has answered in time, or what the server refused
  ///   the flags with. `CancellationError` when the task is cancelled.
  public static func connect(
    to server: String, tls: TLSClientConfiguration? = nil, environment: String? = nil,
    timeout: Duration = .seconds(10)
  ) async throws -> KeelsonClient {
    var configuration = Configuration(server: server)
    configuration.tls = tls
    configuration.environment = environment
    let client = try KeelsonClient(configuration)
    do {
      try await client.flags.waitUntilReady(timeout: timeout)
    } catch let error as RPCError {
      await client.shutdown()
      var error = error
      error.message = "Cannot get flags from Keelson at \(server): \(error.message)"
      if error.code == .unavailable {
        error.message += " Check the address, and that the server runs ('keelson serve')."
      }
      throw error
    } catch {
      await client.shutdown()
      throw error
    }
    return client
  }

  /// The settings of an application, kept up with the server for as long as somebody holds them.
  ///
  /// Returns at once: reads give their defaults until the first settings have arrived.
  ///
  /// - Parameters:
  ///   - environment: nil: that of the client's configuration, whose flags are evaluated; the
  ///     server's own where that names none either.
  ///   - revealsSecrets: whether secrets are wanted, too. The server tells them only to who is
  ///     entitled, and its audit trail says to whom.
  public func configuration(
    application: String, environment: String? = nil, revealsSecrets: Bool = false
  ) -> ApplicationSettings {
    let environment = environment ?? self.environment
    return ApplicationSettings(
      application: application, environment: environment,
      subscription: SettingsSubscription(
        client: admin.configuration,
        request: .init(
          application: application, environment: environment ?? "", reveal: revealsSecrets),
        policy: subscriptionPolicy),
      subscriptions: settings)
  }

  /// Reads a streaming call of the server's that never ends by itself, beginning it anew where it
  /// was lost.
  ///
  /// - Parameters:
  ///   - what: is subscribed to, for errors: `changes of settings` for example.
  ///   - heartbeat: what a message says as a heartbeat; nil when it is none.
  ///   - onInterruption: hears once of each time that the stream is lost.
  package func reader<Response>(
    of what: String, heartbeat: @escaping (Response) -> SubscriptionCalls.Heartbeat?,
    onInterruption: ((RPCError) -> Void)? = nil
  ) -> SubscriptionReader<Response> {
    SubscriptionReader(
      what, policy: subscriptionPolicy, registry: subscriptions, heartbeat: heartbeat,
      onInterruption: onInterruption)
  }

  /// Sends the audit entries that wait, within their time, ends the flag subscription, every
  /// sequence of changes, events and audit entries, cancels calls under way and closes the
  /// connection. Flags are still evaluated, by the last rules that came; what was to be remembered
  /// is loaded.
  public func shutdown() async {
    await audit.recorder.close()
    await subscription?.stop()
    store.close()
    subscriptions.close()
    settings.close()
    cache.core.close()
    await ownConnection?.shutdown()
  }

  /// Calls that change and list what the server keeps.
  public struct Admin: Sendable {
    /// Flags, segments and flag sets.
    public let flags: KeelsonFlagsV1.FlagServiceClient
    /// Events, their types and how long they are kept.
    public let events: KeelsonEventsV1.EventServiceClient
    /// The audit trail: every call as it is, checkpoints, retention, archives and erasure among them.
    public let audit: KeelsonAuditV1.AuditServiceClient
    /// Settings of applications, their schemas, history and snapshots.
    public let configuration: KeelsonConfigurationV1.ConfigurationServiceClient
  }
}
