import KeelsonTestKit
import Testing

@Suite(.timeLimit(.minutes(10))) struct RedisConformanceTests {
  @Test(arguments: CacheEngineConformance.cases)
  func conforms(_ conformance: CacheEngineConformance) async throws {
    try await RedisTestEngines.run { engines in
      try await conformance.check(engines[0])
    }
  }
}
