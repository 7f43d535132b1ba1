import Testing

@testable import KeelsonCache

@Suite struct CacheCountersTests {
  @Test func whatManyThreadsCountAddsUp() async {
    let counters = CacheCounters()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<32 {
        group.addTask { for _ in 0..<1_000 { counters.add(to: .hits) } }
        group.addTask { counters.add(3, to: .misses) }
      }
    }
    #expect(counters[.hits] == 32_000)
    #expect(counters[.misses] == 96)
    #expect(CacheCounters.Count.allCases.allSatisfy { counters[$0] == 0 || $0.rawValue < 2 })
  }

  @Test func theRatioHasNearHitsAndIsMissingWithoutGets() {
    let counters = CacheCounters()
    #expect(counters.hitRatio == nil)
    counters.add(2, to: .hits)
    counters.add(1, to: .nearHits)
    counters.add(1, to: .misses)
    counters.add(0, to: .misses)
    #expect(counters.hitRatio == 0.75)
  }
}
