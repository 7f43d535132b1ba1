import KeelsonCache
import KeelsonCacheRules
import KeelsonCore

/// Nanoseconds of one operation, with values of 100 bytes: the median of five rounds.
enum EngineSpeed {
  private static let rounds = 5
  private static let operations = 1_000_000
  private static let value = [UInt8](repeating: 7, count: 100)
  private static let hour = CacheLifetime(ttl: .seconds(3_600))

  static func run() async -> [String: [Double]] {
    var figures: [String: [Double]] = [:]
    for (name, count) in [("50k", 50_000), ("1m", 1_000_000)] {
      let engine = MemoryCacheEngine(byteLimit: 1 << 30)
      let keys = (0..<count).map(Keys.name)
      for key in keys { set(engine, key) }
      for threads in [1, 2] {
        let suffix = threads == 1 ? name : "\(name)_two_threads"
        figures["get_ns_\(suffix)"] = await measure(threads) { get(engine, keys, $0) }
        figures["set_ns_\(suffix)"] = await measure(threads) { set(engine, keys, $0) }
      }
      figures["miss_ns_\(name)"] = await measure(1) { _ in
        for key in keys.prefix(operations) where engine.getNow(key + "x") != nil {}
        return min(keys.count, operations)
      }
      // After an invalidation of everything that has a tag, each entry is looked at once more.
      _ = try? engine.invalidateNow(.tags(["other"]))
      figures["get_after_tag_ns_\(name)"] = await measure(1, rounds: 1) { get(engine, keys, $0) }
    }
    // Every set is of a new key and pushes out others.
    let full = MemoryCacheEngine(byteLimit: 64 << 20)
    for number in 0..<500_000 { set(full, Keys.name(number)) }
    let new = (0..<operations).map { Keys.name(1_000_000 + $0) }
    figures["set_ns_full"] = await measure(1, rounds: 1) { _ in
      for key in new { set(full, key) }
      return new.count
    }
    figures["lease_and_fill_ns"] = await measure(1) { round in
      for number in 0..<operations / 4 {
        let key = Keys.name(number)
        _ = full.deleteNow([key])
        guard let lease = full.leaseNow(key, CacheLeaseRequest(duration: .seconds(10))).lease
        else { continue }
        _ = full.fillNow(CacheWrite(key: key, value: value, lifetime: hour), under: lease)
      }
      return operations / 4
    }
    figures["near_get_ns"] = near()
    return figures
  }

  private static func set(_ engine: MemoryCacheEngine, _ key: String) {
    _ = engine.setNow(CacheWrite(key: key, value: value, lifetime: hour))
  }

  private static func get(_ engine: MemoryCacheEngine, _ keys: [String], _ round: Int) -> Int {
    var dice = Dice(seed: UInt64(round) + 1)
    for _ in 0..<operations where engine.getNow(keys[dice.below(keys.count)]) == nil {}
    return operations
  }

  private static func set(_ engine: MemoryCacheEngine, _ keys: [String], _ round: Int) -> Int {
    var dice = Dice(seed: UInt64(round) + 1)
    for _ in 0..<operations { set(engine, keys[dice.below(keys.count)]) }
    return operations
  }

  /// Each thread does the work; the time of one operation as one thread sees it.
  private static func measure(
    _ threads: Int, rounds: Int = rounds, _ work: @escaping @Sendable (Int) -> Int
  ) async -> [Double] {
    var times: [Double] = []
    for round in 0..<rounds {
      let clock = ContinuousClock()
      let began = clock.now
      let done = await withTaskGroup(of: Int.self) { group in
        for thread in 0..<threads { group.addTask { work(round * threads + thread) } }
        return await group.reduce(0, +)
      }
      times.append((clock.now - began).nanoseconds * Double(threads) / Double(done))
    }
    return [times.sorted()[times.count / 2]]
  }

  /// The table by itself, as a client's near cache has it.
  private static func near() -> [Double] {
    var table = CacheTable<Int>(byteLimit: 64 << 20)
    let keys = (0..<50_000).map(Keys.name)
    let now = CacheInstant.now
    for (number, key) in keys.enumerated() {
      table.set(key, number, weight: 100, expires: .distantFuture, now: now)
    }
    var times: [Double] = []
    for round in 0..<rounds {
      var dice = Dice(seed: UInt64(round) + 1)
      let clock = ContinuousClock()
      let began = clock.now
      for _ in 0..<operations where table.get(keys[dice.below(keys.count)], now: now) == nil {}
      times.append((clock.now - began).nanoseconds / Double(operations))
    }
    return [times.sorted()[times.count / 2]]
  }
}
