import Testing

@testable import KeelsonClient

/// When the cache is passed by.
@Suite struct CacheBreakerTests {
  @Test func itOpensAfterFailuresInARowAndTriesOneAtATime() {
    let start = ContinuousClock.now
    var breaker = CacheBreaker()
    func permits(_ time: ContinuousClock.Instant) -> Bool { breaker.permits(at: time) }
    for _ in 1..<CacheBreaker.failureLimit { breaker.failed(at: start) }
    breaker.succeeded()
    for _ in 1..<CacheBreaker.failureLimit { breaker.failed(at: start) }
    #expect(breaker.isClosed && permits(start))
    breaker.failed(at: start)
    #expect(!breaker.isClosed && !permits(start))
    let later = start + CacheBreaker.pause
    #expect(permits(later) && !permits(later))
    breaker.failed(at: later)
    #expect(!permits(later))
    let last = later + CacheBreaker.pause
    #expect(permits(last))
    // Nobody has told what became of it.
    #expect(permits(last + CacheBreaker.pause))
    breaker.succeeded()
    #expect(breaker.isClosed && permits(last) && permits(last))
  }
}
