import KeelsonCache
import KeelsonTestKit
import Testing

@Suite(.timeLimit(.minutes(10))) struct MemoryConformanceTests {
  /// An engine of one shard: keys of several shards are an invalidation for each of these.
  @Test(arguments: CacheEngineConformance.cases)
  func conforms(_ conformance: CacheEngineConformance) async throws {
    try await conformance.check(MemoryCacheEngine(byteLimit: 8 << 20))
  }
}
