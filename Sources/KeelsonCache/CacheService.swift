package import KeelsonAPI
package import KeelsonCacheRules
package import KeelsonCore
package import KeelsonStore

/// `keelson.cache.v1.CacheService`. Source: SYS-111 to SYS-115.
///
/// The methods stand in extensions by what they are about: entries, leases, invalidations, watching,
/// statistics, warm sets.
package final class CacheService: KeelsonCacheV1.CacheServiceHandler {
  package typealias API = KeelsonCacheV1

  let database: any Database
  let limits: CacheLimits
  let validation: CacheValidation
  let engine: any CacheEngine
  /// The engine, when it is this process's memory: then calls need not wait.
  let memory: MemoryCacheEngine?
  let fallback: FallbackEngine?
  let feed: InvalidationFeed
  let counters = CacheCounters()
  let hotKeys = HotKeys()
  package let statistics: CacheStatisticsCollector
  /// How the cache is.
  package let healthCheck: CacheHealthCheck
  let announcer: CacheAnnouncer
  let warmSets: WarmSets
  let logger: Logger

  /// A cache in this process's memory.
  package convenience init(
    database: any Database, limits: CacheLimits = CacheLimits(), warming: WarmSets.Source = .none,
    telemetry: TelemetryEvents = TelemetryEvents(), logger: Logger
  ) {
    let memory = MemoryCacheEngine(
      byteLimit: limits.memoryBytes, valueBytes: limits.valueBytes, limits: limits.view)
    self.init(
      database: database, engine: memory, memory: memory, fallback: nil, limits: limits,
      warming: warming, telemetry: telemetry, logger: logger)
  }

  /// A cache in a shared engine, with this process's memory in its place while it is away.
  package convenience init(
    database: any Database, shared: any CacheEngine, limits: CacheLimits = CacheLimits(),
    warming: WarmSets.Source = .none, telemetry: TelemetryEvents = TelemetryEvents(), logger: Logger
  ) {
    let fallback = FallbackEngine(over: shared, limits: limits, logger: logger)
    self.init(
      database: database, engine: fallback, memory: nil, fallback: fallback, limits: limits,
      warming: warming, telemetry: telemetry, logger: logger)
  }

  private init(
    database: any Database, engine: any CacheEngine, memory: MemoryCacheEngine?,
    fallback: FallbackEngine?, limits: CacheLimits, warming: WarmSets.Source,
    telemetry: TelemetryEvents, logger: Logger
  ) {
    self.database = database
    self.engine = engine
    self.memory = memory
    self.fallback = fallback
    self.limits = limits
    self.logger = logger
    let announcer = CacheAnnouncer(telemetry)
    self.announcer = announcer
    validation = CacheValidation(limits: limits)
    let feed = InvalidationFeed(limits: limits)
    self.feed = feed
    engine.follow { feed.take($0) }
    statistics = CacheStatisticsCollector(
      counters: counters, hotKeys: hotKeys,
      sources: .init(
        measure: { try await engine.measure() }, position: { feed.position },
        watchers: { feed.watchers }),
      limits: limits, telemetry: telemetry)
    warmSets = WarmSets(
      database: database, engine: engine, isShared: memory == nil, source: warming,
      counters: counters, announcer: announcer, limits: limits, logger: logger)
    healthCheck = CacheHealthCheck(
      statistics, age: { engine.age(at: .now) }, fallback: { fallback?.health })
  }

  /// The routes of its methods. Those of single entries in this process's memory need no task.
  package var routes: [Route] {
    let routes = (self as any KeelsonCacheV1.CacheServiceHandler).routes
    guard let memory else { return routes }
    return routes.servingAtOnce([
      KeelsonCacheV1.CacheServiceMethods.getEntry(immediate: { [self] request, _ in
        try getEntryNow(request, from: memory)
      }),
      KeelsonCacheV1.CacheServiceMethods.setEntry(immediate: { [self] request, context in
        try setEntryNow(request, in: memory, context: context)
      }),
    ])
  }

  // MARK: Life

  /// Keeps the engine in order until the task is cancelled.
  package func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.statistics.run() }
      group.addTask { await self.warmSets.run() }
      if let memory { group.addTask { await memory.run() } }
      if let fallback { group.addTask { await fallback.run { await self.record($0) } } }
    }
  }

  /// Ends the watches, so that clients go elsewhere, and what is being loaded.
  package func stop() {
    warmSets.stop()
    feed.close()
    statistics.stop()
  }

  /// Keeps the event of what the fallback has done. A database that cannot take it now does not keep
  /// the cache from going on: it stands in the log as well.
  private func record(_ change: FallbackChange) async {
    do {
      switch change {
      case .activated:
        counters.add(to: .fallbacks)
        // What exactly happened names addresses: that is for the log.
        try await database.recordCacheFallback(
          cause: "Redis cannot be reached, does not answer in time, or answers with errors.")
      case .ended(let duration, let invalidations):
        try await database.recordCacheFallbackEnded(after: duration, invalidations: invalidations)
      }
    } catch {
      logger.log(
        .warning, "What happened to the cache could not be recorded as an event.",
        ["cause": "\(error)"])
    }
  }

  /// Counts a get.
  func count(_ key: String, isHit: Bool) {
    counters.add(to: isHit ? .hits : .misses)
    hotKeys.note(key)
  }

  /// One table from the engine's errors to the API's. What the engine says is for the log only.
  func mapped<Result>(
    _ body: () async throws(CacheEngineError) -> Result
  ) async throws -> Result {
    do {
      return try await body()
    } catch {
      throw rpcError(error)
    }
  }

  func rpcError(_ error: CacheEngineError) -> RPCError {
    switch error.code {
    case .full:
      RPCError(
        .resourceExhausted, "Too many patterns wait to be swept; try again later.",
        details: [.retryInfo(.milliseconds(200))], cause: "\(error)")
    case .unavailable, .failed:
      RPCError(
        .unavailable,
        "The cache's shared engine could not take this. It may have happened or not: call again.",
        details: [.retryInfo(.milliseconds(500))], cause: "\(error)")
    }
  }
}
