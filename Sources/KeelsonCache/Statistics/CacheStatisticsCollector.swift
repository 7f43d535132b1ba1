package import KeelsonAPI
package import KeelsonCacheRules
import KeelsonCore
package import KeelsonStore
import Synchronization

/// Puts together how the cache is used: what this server has counted, and what its engine holds.
/// Source: SYS-114.
package final class CacheStatisticsCollector: Sendable {
  package typealias Statistics = KeelsonCacheV1.CacheStatistics

  /// Where the figures come from that are not counted here.
  package struct Sources: Sendable {
    package var measure: @Sendable () async throws -> CacheMeasure
    /// The newest invalidation; nil while it is not known.
    package var position: @Sendable () -> CachePosition?
    /// How many watch invalidations.
    package var watchers: @Sendable () -> Int

    package init(
      measure: @escaping @Sendable () async throws -> CacheMeasure,
      position: @escaping @Sendable () -> CachePosition? = { nil },
      watchers: @escaping @Sendable () -> Int = { 0 }
    ) {
      self.measure = measure
      self.position = position
      self.watchers = watchers
    }
  }

  package let counters: CacheCounters
  package let hotKeys: HotKeys
  let limits: CacheLimits
  private let sources: Sources
  private let telemetry: TelemetryEvents
  private let startTime = UnixTime.now
  private let last = Mutex<(measure: CacheMeasure, time: ContinuousClock.Instant)?>(nil)
  private let watches = Mutex(0)
  private let stopped = Watchable(false)

  /// Watches that ask within this time get one measurement.
  private static let reuse: Duration = .milliseconds(50)
  /// The hottest keys of an event.
  private static let hottestInEvent = 10

  package init(
    counters: CacheCounters = CacheCounters(), hotKeys: HotKeys = HotKeys(), sources: Sources,
    limits: CacheLimits = CacheLimits(), telemetry: TelemetryEvents = TelemetryEvents()
  ) {
    self.counters = counters
    self.hotKeys = hotKeys
    self.sources = sources
    self.limits = limits
    self.telemetry = telemetry
  }

  /// What the engine holds.
  ///
  /// - Parameter age: one that was measured less than so long ago will do.
  /// - Throws: what the engine throws when it cannot be measured.
  package func measured(within age: Duration = .zero) async throws -> CacheMeasure {
    if let (measure, time) = last.withLock({ $0 }), ContinuousClock.now - time < age {
      return measure
    }
    let measure = try await sources.measure()
    last.withLock { $0 = (measure, .now) }
    return measure
  }

  /// What the engine held when it was last measured, however long ago; nil: never.
  package var lastMeasure: CacheMeasure? { last.withLock { $0?.measure } }

  /// The statistics now. Where the engine cannot be measured they have what it held last: a view of
  /// the cache is wanted most while something is wrong.
  ///
  /// - Parameter age: figures of the engine that are less old will do.
  package func statistics(hottest: Int, within age: Duration = .zero) async -> Statistics {
    let measure = (try? await measured(within: age)) ?? lastMeasure
    var statistics = Statistics()
    statistics.time = .init(UnixTime.now)
    statistics.startTime = .init(startTime)
    statistics.hits = counters[.hits]
    statistics.misses = counters[.misses]
    statistics.nearHits = counters[.nearHits]
    statistics.hitRatio = counters.hitRatio
    statistics.sets = counters[.sets]
    statistics.setsRefused = counters[.setsRefused]
    statistics.leases = counters[.leases]
    statistics.leaseWaits = counters[.leaseWaits]
    statistics.keyInvalidations = counters[.keyInvalidations]
    statistics.tagInvalidations = counters[.tagInvalidations]
    statistics.patternInvalidations = counters[.patternInvalidations]
    statistics.flushes = counters[.flushes]
    statistics.fallbacks = counters[.fallbacks]
    if let measure {
      statistics.engine = .init(measure.kind)
      statistics.entries = measure.entries
      statistics.memoryBytes = measure.memoryBytes
      statistics.memoryLimitBytes = measure.memoryLimitBytes
      statistics.evictions = measure.evictions
      statistics.expirations = measure.expirations
    }
    statistics.watchers = UInt64(sources.watchers())
    if let position = sources.position() {
      statistics.epoch = position.epoch
      statistics.sequence = position.sequence
    }
    statistics.hottestKeys = hotKeys.hottest(hottest).map { .init(key: $0.key, count: $0.count) }
    return statistics
  }

  // MARK: Watches

  /// Sends the statistics at once and then each interval, until the caller has gone or the server
  /// stops.
  ///
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED when too many watch; what `send` throws.
  package func watch(
    every interval: Duration, hottest: Int,
    to send: (Statistics) async throws -> Void
  ) async throws {
    try watches.withLock { watches throws(RPCError) in
      guard watches < limits.statisticsWatches else {
        throw RPCError(
          .resourceExhausted,
          "\(limits.statisticsWatches) watch the statistics of the cache, the limit "
            + "'cache-statistics-watches'; ask now and then with GetStatistics.",
          details: [.retryInfo(.seconds(1))])
      }
      watches += 1
    }
    defer { watches.withLock { $0 -= 1 } }
    let begin = stopped.current
    var isStopped = begin.value
    var next = ContinuousClock.now
    while !isStopped {
      try await send(await statistics(hottest: hottest, within: Self.reuse))
      // A send that took longer leaves intervals out.
      next = max(next + interval, .now)
      isStopped = try await waitForStop(after: begin.version, until: next)
    }
  }

  /// - Returns: whether the server stops.
  private func waitForStop(
    after version: Int, until time: ContinuousClock.Instant
  ) async throws -> Bool {
    try await withThrowingTaskGroup(of: Bool.self) { group in
      group.addTask { [stopped] in try await stopped.next(after: version) != nil }
      group.addTask {
        try await Task.sleep(until: time, clock: .continuous)
        return false
      }
      let isStopped = try await group.next() ?? true
      group.cancelAll()
      return isStopped
    }
  }

  // MARK: Life

  /// Tells of the statistics each `cache-statistics-interval`, until the task is cancelled.
  package func run() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: limits.statisticsInterval)
      if !Task.isCancelled { await publish() }
    }
  }

  /// Ends all watches, so that their callers go to another server or come back later.
  package func stop() {
    stopped.update { $0 = true }
  }

  func publish() async {
    guard telemetry.hasListeners else { return }
    let statistics = await statistics(hottest: Self.hottestInEvent)
    telemetry.publish(type: CacheEvent.statisticsCollected) {
      var data = statistics.json
      if case .object(var members) = data {
        // A JSON number has 53 bits, an epoch 64.
        members["epoch"] = .string(String(statistics.epoch))
        data = .object(members)
      }
      return TelemetryEvent(
        type: CacheEvent.statisticsCollected, subject: "cache", data: JSONText(data))
    }
  }
}

extension KeelsonCacheV1.CacheEngineKind {
  package init(_ kind: CacheMeasure.Kind) {
    switch kind {
    case .memory: self = .memory
    case .redis: self = .redis
    case .fallback: self = .fallback
    }
  }
}
