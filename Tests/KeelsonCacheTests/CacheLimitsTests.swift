import KeelsonCache
import Testing

struct CacheLimitsTests {
  @Test func aBatchHoldsAValueOfAnySize() {
    let limits = CacheLimits()
    #expect(limits.batchBytes >= limits.valueBytes)
  }
}
