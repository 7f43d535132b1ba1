import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonCache

@Suite(.timeLimit(.minutes(5))) struct CacheStatisticsTests {
  /// An engine that says what the test has it say.
  final class Meter: Sendable {
    let measure = Mutex<CacheMeasure?>(
      CacheMeasure(
        kind: .memory, entries: 3, memoryBytes: 600, memoryLimitBytes: 1_000, evictions: 1,
        expirations: 2))

    func collector(
      limits: CacheLimits = CacheLimits(), telemetry: TelemetryEvents = TelemetryEvents()
    ) -> CacheStatisticsCollector {
      CacheStatisticsCollector(
        sources: .init(
          measure: {
            guard let measure = self.measure.withLock({ $0 }) else {
              throw CacheEngineError(.unavailable, "Redis is gone.")
            }
            return measure
          },
          position: { CachePosition(epoch: 7, sequence: 9) }, watchers: { 4 }),
        limits: limits, telemetry: telemetry)
    }
  }

  @Test func statisticsHaveWhatIsCountedAndWhatIsMeasured() async {
    let collector = Meter().collector()
    for (index, count) in CacheCounters.Count.allCases.enumerated() {
      collector.counters.add(index + 1, to: count)
    }
    collector.hotKeys.note("acme:shop:item:1")
    let statistics = await collector.statistics(hottest: 5)
    #expect(statistics.hits == 1 && statistics.misses == 2 && statistics.nearHits == 3)
    #expect(statistics.hitRatio == 4.0 / 6)
    #expect(statistics.sets == 4 && statistics.setsRefused == 5)
    #expect(statistics.leases == 6 && statistics.leaseWaits == 7)
    #expect(statistics.keyInvalidations == 8 && statistics.tagInvalidations == 9)
    #expect(statistics.patternInvalidations == 10 && statistics.flushes == 11)
    #expect(statistics.fallbacks == 12)
    #expect(statistics.engine == .memory && statistics.entries == 3)
    #expect(statistics.memoryBytes == 600 && statistics.memoryLimitBytes == 1_000)
    #expect(statistics.evictions == 1 && statistics.expirations == 2)
    #expect(statistics.watchers == 4 && statistics.epoch == 7 && statistics.sequence == 9)
    #expect(statistics.hottestKeys == [.init(key: "acme:shop:item:1", count: 1)])
  }

  @Test func anEngineThatIsGoneHoldsWhatItHeldLast() async throws {
    let meter = Meter()
    let collector = meter.collector()
    meter.measure.withLock { $0 = nil }
    #expect(await collector.statistics(hottest: 0).engine == .unspecified)
    meter.measure.withLock {
      $0 = CacheMeasure(
        kind: .redis, entries: 5, memoryBytes: 1, memoryLimitBytes: nil, evictions: 0,
        expirations: 0)
    }
    _ = try await collector.measured()
    meter.measure.withLock { $0 = nil }
    #expect(await collector.statistics(hottest: 0).entries == 5)
  }

  @Test func aWatchEndsWithTheServerAndTheirNumberIsLimited() async throws {
    var limits = CacheLimits()
    limits.statisticsWatches = 1
    let collector = Meter().collector(limits: limits)
    let arrived = Signal<Void>()
    async let watch: Void = collector.watch(every: .seconds(3_600), hottest: 1) { _ in
      arrived.send()
    }
    await arrived.wait()
    let error = await #expect(throws: RPCError.self) {
      try await collector.watch(every: .seconds(1), hottest: 1) { _ in }
    }
    #expect(error?.code == .resourceExhausted)
    collector.stop()
    try await watch
  }

  @Test func theStatisticsAreAnEvent() async throws {
    let telemetry = TelemetryEvents()
    let collector = Meter().collector(telemetry: telemetry)
    let subscription = telemetry.subscribe(limit: 8) { $0.hasPrefix("keelson.cache.") }
    collector.counters.add(5, to: .hits)
    await collector.publish()
    let event = try await subscription.next()?.events.first
    #expect(event?.type == "keelson.cache.CacheStatisticsCollected")
    let data = event?.data.text ?? ""
    #expect(data.contains(#""hits":5,"#) && data.contains(#""epoch":"7""#), "\(data)")
  }

  @Test func prometheusReadsEveryCountAndTheLastMeasure() async throws {
    let collector = Meter().collector()
    #expect(!collector.metricFamilies.contains { $0.name == "keelson_cache_entries" })
    collector.counters.add(2, to: .hits)
    _ = try await collector.measured()
    let values = Dictionary(
      uniqueKeysWithValues: collector.metricFamilies.map { ($0.name, $0.samples[0].value) })
    #expect(values.count == CacheCounters.Count.allCases.count + 6)
    #expect(values["keelson_cache_hits_total"] == 2)
    #expect(values["keelson_cache_entries"] == 3)
    #expect(values["keelson_cache_memory_limit_bytes"] == 1_000)
    #expect(values["keelson_cache_fallback"] == 0)
  }
}
