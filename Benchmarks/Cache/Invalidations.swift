import KeelsonCache
import KeelsonCacheRules
import KeelsonCore

/// Many entries become void by one call: how long that takes, and how long the sweep that frees their
/// memory, while another thread reads.
enum Invalidations {
  private static let entries = 1_000_000
  private static let hour = CacheLifetime(ttl: .seconds(3_600))

  static func run() async throws -> [String: [Double]] {
    let engine = MemoryCacheEngine(byteLimit: 1 << 30)
    let value = [UInt8](repeating: 7, count: 100)
    for number in 0..<entries {
      _ = engine.setNow(
        CacheWrite(
          key: "acme:\(number % 10 == 0 ? "bills" : "books"):account:\(number)", value: value,
          tags: ["batch-\(number % 100)"], lifetime: hour))
    }
    var figures: [String: [Double]] = [:]
    for (name, scope, left) in [
      ("tag", Invalidation.Scope.tags(["batch-7"]), 990_000),
      ("pattern", .pattern(try CachePattern("acme:bills:*")), 890_000),
      ("wildcards", .pattern(try CachePattern("*:account:*7")), 800_000),
      ("all", .all, 0),
    ] {
      let clock = ContinuousClock()
      let began = clock.now
      try engine.invalidateNow(scope)
      figures["\(name)_call_us"] = [(clock.now - began).nanoseconds / 1e3]
      var longest = 0.0
      while true {
        let slice = clock.now
        guard engine.sweep() else { break }
        longest = max(longest, (clock.now - slice).nanoseconds)
      }
      figures["\(name)_swept_ms"] = [(clock.now - began).nanoseconds / 1e6]
      figures["\(name)_longest_slice_us"] = [longest / 1e3]
      figures["\(name)_left"] = [Double(engine.measureNow().entries)]
      guard engine.measureNow().entries == UInt64(left) else {
        throw MemoryUseProblem("\(engine.measureNow().entries) entries are left after \(name)")
      }
    }
    return figures
  }
}
