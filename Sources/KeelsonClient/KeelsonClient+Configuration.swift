public import KeelsonCore
public import KeelsonFlagRules
public import KeelsonTransport

extension KeelsonClient {
  /// Where the server is and how to deal with it.
  public struct Configuration: Sendable {
    /// The server: `host:port`, `[::1]:7400`, `dns:///host:port` or `unix:/path`; of several the
    /// list, `a:7400,b:7400`. A port that is left out is 7400.
    public var server: String
    /// How the connection is secured; nil: not at all, which is for one machine and for networks
    /// that are trusted. Unix sockets never use TLS.
    public var tls: TLSClientConfiguration?
    /// Where the server's addresses come from, in place of the name in `server`, which calls still
    /// carry; nil: from there.
    public var resolver: (any AddressResolver)?
    /// Whether one of several addresses takes all calls, or all of them in turn.
    public var loadBalancing = LoadBalancingPolicy.pickFirst
    /// The environment whose flags are evaluated and whose settings are read, unless those are
    /// asked for in another; nil: the server's own.
    public var environment: String?
    /// The flag set that is evaluated.
    public var flagSet = "default"
    /// Whether the flags of the set are subscribed to. Without, evaluations give their defaults;
    /// admin calls and health work as ever.
    public var subscribesToFlags = true
    /// What every evaluation sees beside its own context, which wins where both name the same:
    /// the service's name, its region and the like.
    public var context: EvaluationContext = .empty
    /// How long a unary call may take that sets no timeout of its own.
    public var defaultTimeout: Duration = .seconds(10)
    /// Sent with every call. What a call names itself wins.
    public var metadata: Metadata = [:]
    /// What stands around each call. They run after the metadata and the timeout above were added,
    /// and after what the call inherits from the one that its caller serves.
    public var interceptors: [ClientInterceptor] = []
    /// Who is calling, `checkout/1.4` for example; sent with the library's own name and version.
    public var userAgent = ""
    /// How a connection is kept alive on which nothing happens, and found out when it is dead.
    public var keepalive = Keepalive()
    /// How long one address may take to accept a connection.
    public var connectTimeout: Duration = .seconds(10)
    /// How long to wait between attempts to connect: from half a second to 15 seconds.
    public var connectionBackoff = ConnectionBackoff(
      initial: .milliseconds(500), maximum: .seconds(15))
    /// The least time between two looks for the server's addresses; they are looked for when a
    /// connection is lost or cannot be made.
    public var resolutionInterval: Duration = .seconds(30)
    /// Timeouts, limits and retries by method. Without a change: calls of methods that change
    /// nothing are tried again when the server is unavailable, up to three times in all; others only
    /// when no server has seen them.
    public var serviceConfig = ServiceConfig.retryingIdempotentMethods
    /// Whether requests of a kilobyte and more are sent compressed. Responses are read either way.
    public var compressesRequests = false
    /// How audit entries are gathered and sent.
    public var auditRecording = AuditRecordingPolicy()
    /// How values are remembered in the cache, and how much of it is kept in this process.
    public var cache = CacheConfiguration()
    /// The longest message that is accepted. The first message of a subscription holds all rules
    /// of the flag set.
    public var maximumMessageBytes = 64 << 20

    /// When the flag subscription is tried again, and given up as silent.
    package var subscription = SubscriptionPolicy()

    public init(server: String = "127.0.0.1:7400") {
      self.server = server
    }

    /// Pings on a quiet connection.
    public struct Keepalive: Sendable, Hashable {
      /// A server from which nothing came for this long is pinged. Servers take offence at less
      /// than ten seconds.
      public var interval: Duration
      /// A server that has not answered the ping after this long is given up, and connected to
      /// anew.
      public var timeout: Duration

      public init(interval: Duration = .seconds(30), timeout: Duration = .seconds(10)) {
        self.interval = interval
        self.timeout = timeout
      }
    }
  }
}
