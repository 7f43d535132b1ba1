import KeelsonCacheRules
import Testing

struct CircuitBreakerTests {
  private let start = ContinuousClock.now

  @Test func opensAfterFailuresOneAfterTheOther() {
    var breaker = CircuitBreaker()
    fail(&breaker, 4)
    breaker.succeed()
    fail(&breaker, 4)
    #expect(breaker.isClosed)
    #expect(breaker.hasFailures)
    let opens = breaker.fail(at: start)
    #expect(opens)
    #expect(breaker.state == .open(until: start + .seconds(30)))
    fail(&breaker, 1)
  }

  @Test func closesAfterProbesThatSucceed() {
    var breaker = opened()
    #expect(breaker.timeToProbe(at: start + .seconds(10)) == .seconds(20))
    #expect(breaker.timeToProbe(at: start + .seconds(31)) == .zero)
    let later = start + .seconds(31)
    let first = breaker.probe(succeeded: true, at: later)
    #expect(breaker.state == .halfOpen(successes: 1))
    #expect(breaker.timeToProbe(at: later) == .zero)
    let second = breaker.probe(succeeded: true, at: later)
    let third = breaker.probe(succeeded: true, at: later)
    #expect([first, second, third] == [false, false, true])
    #expect(!breaker.isClosed, "not before all is in order")
    breaker.close()
    #expect(breaker.isClosed)
    #expect(breaker.timeToProbe(at: later) == nil)
  }

  @Test func aProbeThatFailsOpensItAgain() {
    var breaker = opened()
    let later = start + .seconds(31)
    _ = breaker.probe(succeeded: true, at: later)
    _ = breaker.probe(succeeded: true, at: later)
    _ = breaker.probe(succeeded: false, at: later)
    #expect(breaker.state == .open(until: later + .seconds(30)))
    let isEnough = breaker.probe(succeeded: true, at: later + .seconds(30))
    #expect(!isEnough)
    #expect(breaker.state == .halfOpen(successes: 1))
  }

  @Test func whatIsHeardLateChangesNothing() {
    var breaker = opened()
    breaker.succeed()
    #expect(breaker.state == .open(until: start + .seconds(30)))
    _ = breaker.probe(succeeded: true, at: start)
    breaker.succeed()
    fail(&breaker, 5)
    #expect(breaker.state == .halfOpen(successes: 1))
  }

  private func opened() -> CircuitBreaker {
    var breaker = CircuitBreaker()
    for _ in 0..<5 { _ = breaker.fail(at: start) }
    return breaker
  }

  /// Failures that do not open it.
  private func fail(_ breaker: inout CircuitBreaker, _ times: Int) {
    for _ in 0..<times {
      let opens = breaker.fail(at: start)
      #expect(!opens)
    }
  }
}
