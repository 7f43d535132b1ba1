import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonCache

@Suite struct HotKeysTests {
  /// A clock that stands until a test moves it.
  private final class Clock: Sendable {
    private let time = Mutex(ContinuousClock.now)
    var now: ContinuousClock.Instant { time.withLock { $0 } }
    func advance(by duration: Duration) { time.withLock { $0 += duration } }
  }

  @Test func fewGetsAreCountedExactly() {
    let keys = HotKeys()
    for _ in 0..<3 { keys.note("acme:shop:item:1") }
    keys.note("acme:shop:item:2")
    #expect(
      keys.hottest(10) == [
        .init(key: "acme:shop:item:1", count: 3), .init(key: "acme:shop:item:2", count: 1),
      ])
    #expect(keys.hottest(1).map(\.key) == ["acme:shop:item:1"])
    #expect(keys.hottest(0) == [])
  }

  @Test func manyGetsAreEstimated() {
    let clock = Clock()
    let keys = HotKeys(now: { clock.now })
    for number in 0..<400_000 {
      keys.note(number % 4 == 0 ? "acme:shop:item:hot" : "acme:shop:item:\(number)")
    }
    let hottest = keys.hottest(1)
    #expect(hottest.map(\.key) == ["acme:shop:item:hot"])
    // A quarter of what was counted one by one, and 64 for each of about 1,560 samples.
    #expect((80_000...120_000).contains(hottest.first?.count ?? 0), "\(hottest)")
  }

  @Test func whatWasHotCoolsDown() {
    let clock = Clock()
    let keys = HotKeys(now: { clock.now })
    for _ in 0..<200 { keys.note("acme:shop:item:old") }
    clock.advance(by: .seconds(120))
    #expect(keys.hottest(1) == [.init(key: "acme:shop:item:old", count: 50)])
    for _ in 0..<60 { keys.note("acme:shop:item:new") }
    #expect(keys.hottest(2).map(\.key) == ["acme:shop:item:new", "acme:shop:item:old"])
    clock.advance(by: .seconds(86_400))
    #expect(keys.hottest(2) == [])
    // Counts were scaled meanwhile.
    keys.note("acme:shop:item:new")
    #expect(keys.hottest(2) == [.init(key: "acme:shop:item:new", count: 1)])
  }

  /// What every summary of this kind promises, on skewed loads.
  @Test func aSummaryIsWrongByNoMoreThanItsErrors() {
    var generator = SeededGenerator(seed: 6)
    var summary = SpaceSavingSummary(capacity: 50)
    var truth: [String: Double] = [:]
    var total = 0.0
    for _ in 0..<20_000 {
      let key = String(Int(1_000 * pow3(Double.random(in: 0..<1, using: &generator))))
      let weight = Double(Int.random(in: 1...3, using: &generator))
      summary.add(key, weight: weight)
      truth[key, default: 0] += weight
      total += weight
    }
    #expect(summary.entries.count == 50)
    for entry in summary.entries {
      let real = truth[entry.key] ?? 0
      #expect(entry.count >= real && entry.count - entry.error <= real, "\(entry) \(real)")
      #expect(entry.error <= total / 50)
    }
    let held = Set(summary.entries.map(\.key))
    for (key, count) in truth where count > total / 50 { #expect(held.contains(key)) }
  }

  private func pow3(_ value: Double) -> Double { value * value * value }
}
