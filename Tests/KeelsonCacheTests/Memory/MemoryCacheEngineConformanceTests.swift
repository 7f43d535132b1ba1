import KeelsonCache
import KeelsonTestKit
import Testing

@Suite(.timeLimit(.minutes(10))) struct MemoryCacheEngineConformanceTests {
  /// With one shard and with several: keys of several shards are an invalidation for each of these.
  @Test(arguments: CacheEngineConformance.cases, [8 << 20, 128 << 20])
  func conforms(_ conformance: CacheEngineConformance, byteLimit: Int) async throws {
    try await conformance.check(MemoryCacheEngine(byteLimit: byteLimit))
  }
}
