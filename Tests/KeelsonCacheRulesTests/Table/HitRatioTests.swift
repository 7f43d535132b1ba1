import Foundation
import KeelsonCacheRules
import Testing

/// A small form of `cache-benchmark hit-ratio`.
struct HitRatioTests {
  /// Ranks from 0 on, the n-th in proportion to n^-s.
  struct Zipf {
    private var sums: [Double] = []

    init(keys: Int, exponent: Double) {
      var sum = 0.0
      for rank in 1...keys {
        sum += pow(Double(rank), -exponent)
        sums.append(sum)
      }
    }

    func next() -> Int {
      let point = Double.random(in: 0..<sums[sums.count - 1])
      var (low, high) = (0, sums.count - 1)
      while low < high {
        let middle = (low + high) / 2
        if sums[middle] > point { high = middle } else { low = middle + 1 }
      }
      return low
    }

    /// What keeping the most popular ones gives.
    func best(_ kept: Int) -> Double { sums[kept - 1] / sums[sums.count - 1] }
  }

  private let start = CacheInstant(microseconds: 0)

  /// The share of gets that find something, after as many that count for nothing.
  private func hitRatio(
    _ zipf: Zipf, room: Int, gets: Int, scan: ClosedRange<Int>? = nil
  ) -> (ratio: Double, kept: Int) {
    var table = CacheTable<Int>(byteLimit: room * 1_060 + 6_000, now: start)
    var hits = 0
    for step in 0..<2 * gets {
      let rank = zipf.next()
      if let scan, step.isMultiple(of: 2) {
        table.set(
          "scan:\(Int.random(in: scan))", 0, weight: 1_000, expires: .distantFuture, now: start)
      }
      let key = "k:\(rank)"
      if table.get(key, now: start) != nil {
        if step >= gets { hits += 1 }
      } else {
        table.set(key, rank, weight: 1_000, expires: .distantFuture, now: start)
      }
    }
    return (Double(hits) / Double(gets), table.count)
  }

  @Test func isNearTheBest() {
    let zipf = Zipf(keys: 20_000, exponent: 0.99)
    let (ratio, kept) = hitRatio(zipf, room: 1_000, gets: 60_000)
    #expect(kept <= 1_050)
    #expect(ratio > zipf.best(1_000) - 0.04, "\(ratio) of \(zipf.best(1_000))")
  }

  @Test func aScanDoesLittleHarm() {
    let zipf = Zipf(keys: 20_000, exponent: 0.99)
    let (ratio, _) = hitRatio(zipf, room: 1_000, gets: 60_000, scan: 0...10_000_000)
    #expect(ratio > zipf.best(1_000) - 0.06, "\(ratio) of \(zipf.best(1_000))")
  }

  /// Its counter is full at 15, below any sum of what has to go for it.
  @Test(arguments: [100_000, 200_000, 1_000_000]) func alsoALargeValueThatIsHotStays(weight: Int) {
    var table = CacheTable<Int>(byteLimit: 16 << 20, now: start)
    var hits = 0
    for step in 0..<200_000 {
      let isLarge = step.isMultiple(of: 10)
      let key = isLarge ? "large" : "k:\(Int.random(in: 0..<20_000))"
      if table.get(key, now: start) != nil {
        if isLarge, step >= 100_000 { hits += 1 }
      } else {
        table.set(
          key, 0, weight: isLarge ? weight : 1_000, expires: .distantFuture, now: start)
      }
    }
    #expect(hits > 9_000)
  }

  /// What is large and asked for once takes the place of the one before it, not of many small ones.
  @Test(arguments: [200_000, 1_000_000]) func largeValuesThatAreColdDoLittleHarm(weight: Int) {
    var table = CacheTable<Int>(byteLimit: 16 << 20, now: start)
    func ask(_ key: String, _ weight: Int) -> Bool {
      if table.get(key, now: start) != nil { return true }
      table.set(key, 0, weight: weight, expires: .distantFuture, now: start)
      return false
    }
    var hits = 0
    for step in 0..<120_000 {
      if step.isMultiple(of: 100) { _ = ask("large:\(step)", weight) }
      if ask("k:\(Int.random(in: 0..<10_000))", 1_000), step >= 60_000 { hits += 1 }
    }
    #expect(hits > 57_000, "of 60,000")
  }

  @Test func aHotSetThatFitsIsHit() {
    let zipf = Zipf(keys: 1_000, exponent: 0.99)
    #expect(hitRatio(zipf, room: 1_000, gets: 20_000).ratio > 0.97)
  }
}
