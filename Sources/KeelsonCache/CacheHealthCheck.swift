import KeelsonCacheRules
package import KeelsonCore

/// Says how the cache is: which engine serves, whether it can be reached, how often gets find
/// something, and how full it is. Source: SYS-102.
///
/// The cache never takes the server with it: without Redis the server answers from its own memory,
/// and is degraded.
package struct CacheHealthCheck: HealthCheck {
  package let name = "cache"
  package let isEssential = false

  /// How the way to Redis is.
  package struct Fallback: Sendable, Hashable {
    /// `closed`, `open` or `half-open`: whether calls go to Redis.
    package var breaker: String
    /// Whether they do not.
    package var isActive: Bool

    package init(breaker: String, isActive: Bool) {
      self.breaker = breaker
      self.isActive = isActive
    }
  }

  private let collector: CacheStatisticsCollector
  private let age: @Sendable () -> Duration?
  private let fallback: @Sendable () -> Fallback?

  /// At its limit a cache is as it should be: entries go for new ones. So far above it Redis is full of
  /// something else.
  private static let fullAbove = 1.05

  /// - Parameters:
  ///   - age: how old what the engine knows is; nil when it does not know.
  ///   - fallback: how the way to Redis is; nil where the engine is this server's memory.
  package init(
    _ collector: CacheStatisticsCollector, age: @escaping @Sendable () -> Duration?,
    fallback: @escaping @Sendable () -> Fallback? = { nil }
  ) {
    self.collector = collector
    self.age = age
    self.fallback = fallback
  }

  package func check() async throws -> HealthOutcome {
    let fallback = fallback()
    let measure: CacheMeasure
    do {
      measure = try await collector.measured()
    } catch {
      throw RPCError(
        .unavailable, "The cache's engine does not say how full it is.", cause: "\(error)")
    }
    var reason = ""
    if measure.kind == .fallback || fallback?.isActive == true {
      // Why has Redis's address in it, which probes are not shown.
      reason =
        "Redis cannot be used: this server answers from its own memory, and invalidations fail. "
        + "Its log says why."
    } else if measure.kind == .redis, let limit = measure.memoryLimitBytes,
      Double(measure.memoryBytes) > Self.fullAbove * Double(limit)
    {
      reason =
        "Redis uses \(measure.memoryBytes) bytes where the cache may use \(limit), and nothing is "
        + "stored: give it more memory, or find out what else it keeps."
    }
    let details = details(of: measure, fallback)
    return HealthOutcome(
      reason.isEmpty ? .healthy : .degraded, reason: reason, details: details)
  }

  private func details(of measure: CacheMeasure, _ fallback: Fallback?) -> [String: JSONValue] {
    var details: [String: JSONValue] = [
      "engine": .string(measure.kind.name),
      "reachable": .bool(measure.kind != .fallback),
      "entries": .number(Double(measure.entries)),
      "memory_bytes": .number(Double(measure.memoryBytes)),
      "hits": .number(Double(collector.counters[.hits])),
      "misses": .number(Double(collector.counters[.misses])),
    ]
    if let ratio = collector.counters.hitRatio { details["hit_ratio"] = .number(ratio) }
    if let limit = measure.memoryLimitBytes {
      details["memory_limit_bytes"] = .number(Double(limit))
    }
    if let age = age() { details["knowledge_age_ms"] = .number(age / .milliseconds(1)) }
    if let fallback { details["breaker"] = .string(fallback.breaker) }
    return details
  }
}

extension CacheMeasure.Kind {
  fileprivate var name: String {
    switch self {
    case .memory: "memory"
    case .redis: "redis"
    case .fallback: "fallback"
    }
  }
}
