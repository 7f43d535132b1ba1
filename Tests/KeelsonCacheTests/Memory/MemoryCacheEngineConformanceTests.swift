import KeelsonCache
import KeelsonTestKit
import Testing

struct MemoryCacheEngineConformanceTests {
  @Test(arguments: CacheEngineConformance.cases)
  func conforms(_ conformance: CacheEngineConformance) async throws {
    // Large enough for several shards.
    try await conformance.check(MemoryCacheEngine(byteLimit: 64 << 20))
  }
}
