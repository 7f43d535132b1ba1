import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonCache

@Suite struct CacheHealthCheckTests {
  private let meter = CacheStatisticsTests.Meter()

  @Test func aHealthyCacheSaysHowItIs() async throws {
    let collector = meter.collector()
    collector.counters.add(3, to: .hits)
    collector.counters.add(1, to: .misses)
    let outcome = try await CacheHealthCheck(collector, age: { .milliseconds(12) }).check()
    #expect(outcome.level == .healthy && outcome.reason.isEmpty)
    #expect(
      outcome.details == [
        "engine": "memory", "reachable": true, "entries": 3, "memory_bytes": 600,
        "memory_limit_bytes": 1_000, "hits": 3, "misses": 1, "hit_ratio": 0.75,
        "knowledge_age_ms": 12,
      ])
  }

  @Test func aFullMemoryIsHealthy() async throws {
    meter.measure.withLock { $0?.memoryBytes = 1_000 }
    let outcome = try await CacheHealthCheck(meter.collector(), age: { nil }).check()
    #expect(outcome.level == .healthy)
  }

  @Test func aRedisThatCannotMakeRoomIsDegraded() async throws {
    meter.measure.withLock { $0?.kind = .redis }
    meter.measure.withLock { $0?.memoryBytes = 1_000 }
    let full = try await CacheHealthCheck(meter.collector(), age: { nil }).check()
    #expect(full.level == .healthy)
    meter.measure.withLock { $0?.memoryBytes = 1_051 }
    let outcome = try await CacheHealthCheck(meter.collector(), age: { nil }).check()
    #expect(outcome.level == .degraded)
    #expect(outcome.reason.contains("1051 bytes where the cache may use 1000"))
  }

  @Test func aFallbackIsDegradedAndSaysWhy() async throws {
    meter.measure.withLock { $0?.kind = .fallback }
    let check = CacheHealthCheck(
      meter.collector(), age: { nil },
      fallback: { .init(breaker: "open", isActive: true) })
    let outcome = try await check.check()
    #expect(outcome.level == .degraded)
    #expect(outcome.reason.hasPrefix("Redis cannot be used: "))
    #expect(outcome.details["breaker"] == "open" && outcome.details["reachable"] == false)
  }

  @Test func anEngineThatCannotBeMeasuredHasFailed() async {
    meter.measure.withLock { $0 = nil }
    let error = await #expect(throws: RPCError.self) {
      try await CacheHealthCheck(meter.collector(), age: { nil }).check()
    }
    #expect(error?.code == .unavailable && !"\(error?.message ?? "")".contains("Redis is gone"))
  }
}
