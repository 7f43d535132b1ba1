package import KeelsonCore

/// What a channel is told of the services it calls: timeouts, limits, retries, balancing.
/// Source: grpc/grpc `doc/service_config.md`, `service_config.proto`.
public struct ServiceConfig: Sendable, Hashable {
  /// How the channel deals with several addresses; nil: as its configuration says.
  public var loadBalancingPolicy: LoadBalancingPolicy?
  /// Of those that name a method, the one that names it closest counts, and none beside it.
  public var methods: [MethodConfig]
  /// The budget of all retries together; nil: none.
  public var retryThrottling: RetryThrottling?

  public init(
    methods: [MethodConfig] = [], retryThrottling: RetryThrottling? = nil,
    loadBalancingPolicy: LoadBalancingPolicy? = nil
  ) {
    self.methods = methods
    self.retryThrottling = retryThrottling
    self.loadBalancingPolicy = loadBalancingPolicy
  }

  /// Calls of idempotent methods are tried again when the server is unavailable; all others only
  /// when the server cannot have seen them.
  public static let retryingIdempotentMethods = ServiceConfig(
    methods: [MethodConfig(names: [.all], retryPolicy: RetryPolicy())],
    retryThrottling: RetryThrottling())

  /// The configuration of a method, and whether it names the method itself.
  package func config(for method: MethodDescriptor) -> (config: MethodConfig, isExplicit: Bool)? {
    var best: (config: MethodConfig, closeness: Int)?
    for config in methods {
      for name in config.names {
        let closeness = name.closeness(to: method)
        if closeness > best?.closeness ?? 0 { best = (config, closeness) }
      }
    }
    return best.map { ($0.config, $0.closeness == MethodConfig.Name.exact) }
  }
}

/// What holds for the calls of some methods.
public struct MethodConfig: Sendable, Hashable {
  /// Which methods.
  public struct Name: Sendable, Hashable {
    static let exact = 3

    /// The full service name; nil: all services.
    public let service: String?
    /// nil: all methods of the service.
    public let method: String?

    public static let all = Name(service: nil, method: nil)

    public static func service(_ service: String) -> Name { Name(service: service, method: nil) }

    public static func method(_ method: String, of service: String) -> Name {
      Name(service: service, method: method)
    }

    /// 0: it does not mean the method.
    fileprivate func closeness(to method: MethodDescriptor) -> Int {
      guard let service else { return 1 }
      guard service == method.service else { return 0 }
      guard let name = self.method else { return 2 }
      return name == method.name ? Self.exact : 0
    }
  }

  public var names: [Name]
  /// Whether calls wait for a connection although they do not say so themselves.
  public var waitForReady: Bool
  /// The longest a call may take; one that says less itself has less.
  public var timeout: Duration?
  /// A longer request fails its call with RESOURCE_EXHAUSTED; the channel's own limit holds too.
  public var maximumRequestBytes: Int?
  /// The same for responses.
  public var maximumResponseBytes: Int?
  public var retryPolicy: RetryPolicy?

  public init(
    names: [Name], waitForReady: Bool = false, timeout: Duration? = nil,
    maximumRequestBytes: Int? = nil, maximumResponseBytes: Int? = nil,
    retryPolicy: RetryPolicy? = nil
  ) {
    self.names = names
    self.waitForReady = waitForReady
    self.timeout = timeout
    self.maximumRequestBytes = maximumRequestBytes
    self.maximumResponseBytes = maximumResponseBytes
    self.retryPolicy = retryPolicy
  }
}
