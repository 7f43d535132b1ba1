package import KeelsonCacheRules
package import KeelsonCore
package import KeelsonTransport
import Synchronization

/// The cache in a Redis that all servers share.
///
/// Gets are plain GET and MGET; what is void is found out here, by what the link knows. All writing is
/// done by scripts, which check the epoch. docs/cache.md describes what is in Redis.
package final class RedisCacheEngine: CacheEngine {
  let link: RedisLink
  let pool: RedisPool
  let limits: RedisConfiguration.Limits
  private let sweeper: RedisSweeper
  private let linkTask = Mutex<Task<Void, Never>?>(nil)
  /// What no other writing of an entry has: random at first, then counted.
  private let nonces = Atomic<UInt64>(UInt64.random(in: 0...UInt64.max))

  /// An engine that is not connected yet: see ``start()``.
  ///
  /// - Parameter onStateChange: called on a loop whenever Redis can be used (nil) or cannot, and why.
  /// - Throws: ``RedisError`` with code refused when certificates cannot be read.
  package init(
    _ configuration: RedisConfiguration, loops: LoopGroup, logger: Logger,
    onStateChange: @escaping @Sendable (CacheEngineError?) -> Void = { _ in }
  ) throws(RedisError) {
    let connector = try RedisConnector(configuration)
    limits = configuration.limits
    pool = RedisPool(connector, loops: loops, logger: logger)
    link = RedisLink(connector, on: loops.next(), logger: logger) {
      onStateChange($0?.asEngineError)
    }
    sweeper = RedisSweeper(link, logger: logger)
    link.onLook = { [sweeper] in sweeper.looked($0) }
  }

  /// Connects, and returns when the first attempt has ended. When Redis is away it goes on trying.
  ///
  /// - Throws: ``CacheEngineError`` with code failed when trying again is of no use: a wrong password, a
  ///   Redis Cluster, a Sentinel. Close the engine then.
  package func start() async throws(CacheEngineError) {
    async let connections: Void = pool.start()
    let failure = await withCheckedContinuation { continuation in
      let task = Task(executorPreference: link.loop) { [link] in
        await link.run { continuation.resume(returning: $0) }
      }
      linkTask.withLock { $0 = task }
    }
    await connections
    if let failure, failure.code == .refused { throw failure.asEngineError }
  }

  /// Closes all connections. What waits fails.
  package func close() async {
    link.loop.run { [link] in link.close() }
    await pool.close()
    await linkTask.withLock { $0 }?.value
    await sweeper.end()
  }

  // MARK: Asking

  /// A connection to the process that all that is known is about.
  private func connection(to runID: UInt64) throws(RedisError) -> RedisConnection {
    let connection = try pool.connection()
    guard connection.runID == runID else {
      throw RedisError(.unreachable, "Redis was restarted; its cache begins anew.")
    }
    return connection
  }

  /// Does something that belongs to the epoch that is known, and once more if another has begun.
  func inEpoch<Value>(
    _ body: (KnownInvalidations.Link, RedisConnection) async throws(RedisError) -> Value
  ) async throws(CacheEngineError) -> Value {
    do throws(RedisError) {
      let known = try link.known.link()
      do throws(RedisError) {
        return try await body(known, try connection(to: known.runID))
      } catch  where error.kind == "EPOCH" {
        try await renew(known.epoch)
      }
      let next = try link.known.link()
      return try await body(next, try connection(to: next.runID))
    } catch {
      throw error.asEngineError
    }
  }

  private func renew(_ epoch: UInt64) async throws(RedisError) {
    link.loop.run { [link] in link.renew(ifOf: epoch) }
    let due = due()
    guard await link.known.waitForEpoch(otherThan: epoch, until: due) else {
      throw RedisError(.unreachable, "What is in Redis belongs to another epoch of the cache.")
    }
  }

  /// Waits until it is known what had become void by a time.
  func know(asOf time: Int64) async throws(RedisError) {
    if let known = link.known.asOf, known >= time { return }
    link.hurry(asOf: time)
    let due = due()
    guard await link.known.wait(asOf: time, until: due) else {
      throw RedisError(
        .timedOut, "It is not known in time what has become void in Redis (redis-timeout).")
    }
  }

  /// Waits until this server gives nothing more of what became void there.
  func know(_ position: CachePosition) async throws(RedisError) {
    let due = due()
    guard await link.known.wait(for: position, until: due) else {
      throw RedisError(
        .timedOut, "What has become void in Redis was not heard of in time (redis-timeout).")
    }
  }

  /// Until when is waited for what is asked now. A link that was idle looks for who waits too long only
  /// now and then.
  private func due() -> Int64 {
    let now = MonotonicTime.now
    link.hurry(asOf: now - limits.knowledgeAge.nanoseconds)
    return now + limits.commandTimeout.nanoseconds
  }

  func nextNonce() -> UInt64 { nonces.wrappingAdd(1, ordering: .relaxed).newValue }

  // MARK: What is known

  package func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void) {
    link.loop.run { [link] in link.follow(observer) }
  }

  package func age(at now: ContinuousClock.Instant) -> Duration? {
    link.use()
    guard link.known.position != nil, let asOf = link.known.asOf else { return nil }
    let time = MonotonicTime.nanoseconds(now)
    link.hurry(asOf: time - limits.knowledgeAge.nanoseconds)
    return .nanoseconds(max(0, time - asOf))
  }

  package func measure() async throws(CacheEngineError) -> CacheMeasure {
    try await inEpoch { (_, connection) throws(RedisError) in
      let replies = try await connection.ask([
        RedisCommand("DBSIZE"), RedisCommand("INFO", "memory"), RedisCommand("INFO", "stats"),
      ])
      let entries = try replies[0].checked().number ?? 0
      link.gauge.takeMemory(try RedisInformation(replies[1]), limits: limits)
      let statistics = try RedisInformation(replies[2])
      let memory = link.gauge.memory
      let evictions =
        (statistics.number("evicted_keys") ?? 0) + sweeper.evictions.load(ordering: .relaxed)
      return CacheMeasure(
        kind: .redis, entries: UInt64(clamping: entries),
        memoryBytes: UInt64(clamping: memory.used),
        memoryLimitBytes: memory.limit.map { UInt64(clamping: $0) },
        evictions: UInt64(clamping: evictions),
        expirations: UInt64(clamping: statistics.number("expired_keys") ?? 0))
    }
  }
}
