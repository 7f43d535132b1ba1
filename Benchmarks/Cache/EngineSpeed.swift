import Foundation
import KeelsonCache
import KeelsonCacheRules
import KeelsonCore

/// Nanoseconds of processor time for one operation, with values of 100 bytes: the median of three rounds.
enum EngineSpeed {
  private static let rounds = 3
  private static let operations = 300_000
  private static let value = [UInt8](repeating: 7, count: 100)
  private static let hour = CacheLifetime(ttl: .seconds(3_600))

  static func run() async -> [String: [Double]] {
    var figures: [String: [Double]] = [:]
    for (name, count) in [("50k", 50_000), ("1m", 1_000_000)] {
      let engine = MemoryCacheEngine(byteLimit: 1 << 30)
      let keys = (0..<count).map(Keys.name)
      for key in keys { set(engine, key) }
      figures["key_ns_\(name)"] = await measure(1) { look(keys, $0) }
      for threads in [1, 2] {
        let suffix = threads == 1 ? name : "\(name)_two_threads"
        figures["get_ns_\(suffix)"] = await measure(threads) { get(engine, keys, $0) }
        figures["set_ns_\(suffix)"] = await measure(threads) { set(engine, keys, $0) }
      }
      figures["miss_ns_\(name)"] = await measure(1) { _ in
        for number in 0..<operations where engine.getNow(Keys.name(-number)) != nil {}
        return operations
      }
      // Once a tag was invalidated each entry is looked at once more.
      _ = try? engine.invalidateNow(.tags(["other"]))
      figures["get_after_tag_ns_\(name)"] = await measure(1, rounds: 1) { get(engine, keys, $0) }
    }
    let zipf = Zipf(keys: 1_000_000, exponent: 0.99)
    let engine = MemoryCacheEngine(byteLimit: 1 << 30)
    var dice = Dice(seed: 99)
    let popular = (0..<operations).map { _ in Keys.name(zipf.next(&dice)) }
    for key in popular { set(engine, key) }
    figures["get_ns_zipf"] = await measure(1) { _ in
      for key in popular where engine.getNow(key) == nil {}
      return popular.count
    }
    figures["set_ns_zipf"] = await measure(1) { _ in
      for key in popular { set(engine, key) }
      return popular.count
    }
    // Every set is of a new key and pushes out others.
    let full = MemoryCacheEngine(byteLimit: 64 << 20)
    for number in 0..<500_000 { set(full, Keys.name(number)) }
    let new = (0..<operations).map { Keys.name(1_000_000 + $0) }
    figures["set_ns_full"] = await measure(1, rounds: 1) { _ in
      for key in new { set(full, key) }
      return new.count
    }
    figures["lease_and_fill_ns"] = await measure(1) { _ in
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

  /// What it costs to fetch a key, which the figures of gets and sets have in them.
  private static func look(_ keys: [String], _ round: Int) -> Int {
    var dice = Dice(seed: UInt64(round) + 1)
    var bytes = 0
    for _ in 0..<operations {
      bytes &+= keys[dice.below(keys.count)].utf8.reduce(0) { $0 &+ Int($1) }
    }
    return bytes == 0 ? 0 : operations
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

  /// Each thread does the work: the processor time of one operation.
  private static func measure(
    _ threads: Int, rounds: Int = rounds, _ work: @escaping @Sendable (Int) -> Int
  ) async -> [Double] {
    var times: [Double] = []
    for round in 0..<rounds {
      let (time, done) = await withTaskGroup(of: (Double, Int).self) { group in
        for thread in 0..<threads {
          group.addTask {
            let began = threadNanoseconds()
            let done = work(round * threads + thread)
            return (threadNanoseconds() - began, done)
          }
        }
        return await group.reduce(into: (0.0, 0)) { $0 = ($0.0 + $1.0, $0.1 + $1.1) }
      }
      times.append(time / Double(done))
    }
    return [times.sorted()[times.count / 2]]
  }

  /// Processor time of this thread.
  private static func threadNanoseconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
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
      let began = threadNanoseconds()
      for _ in 0..<operations where table.get(keys[dice.below(keys.count)], now: now) == nil {}
      times.append((threadNanoseconds() - began) / Double(operations))
    }
    return [times.sorted()[times.count / 2]]
  }
}
