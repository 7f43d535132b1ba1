import Foundation
import KeelsonCache
import KeelsonCacheRules

/// Gets by popularity; what is missing is stored.
enum HitRatio {
  private static let keys = 1_000_000
  private static let room = keys / 20
  private static let gets = 5_000_000
  private static let exponent = 0.99

  static func run() -> [String: [Double]] {
    let zipf = Zipf(keys: keys, exponent: exponent)
    let limit = byteLimit()
    var figures: [String: [Double]] = [:]
    figures["best"] = [zipf.share(of: room)]
    (figures["w_tinylfu"], figures["w_tinylfu_entries"]) = engine(limit) { zipf.next(&$0) }
    figures["lru"] = lru { zipf.next(&$0) }
    // A key that is asked for once, beside each get.
    (figures["scan_w_tinylfu"], _) = engine(limit, scans: true) { zipf.next(&$0) }
    figures["scan_lru"] = lru(scans: true) { zipf.next(&$0) }
    // 98 % of the gets go to keys for which there is room, the others to all the rest.
    let hot = room * 9 / 10
    let inside = Zipf(keys: hot, exponent: exponent)
    func next(_ dice: inout Dice) -> Int {
      dice.part() < 0.98 ? inside.next(&dice) : hot + dice.below(keys - hot)
    }
    figures["hot_best"] = [0.98]
    (figures["hot_w_tinylfu"], _) = engine(limit, next: next)
    figures["hot_lru"] = lru(next: next)
    return figures
  }

  private static let value = [UInt8](repeating: 7, count: 100)

  private static func set(_ engine: MemoryCacheEngine, _ key: String) {
    _ = engine.setNow(
      CacheWrite(key: key, value: value, lifetime: CacheLifetime(ttl: .seconds(86_400))))
  }

  /// How many bytes hold so many entries.
  private static func byteLimit() -> Int {
    var limit = room * 250
    for _ in 0..<4 {
      let engine = MemoryCacheEngine(byteLimit: limit)
      for number in 0..<room * 3 { set(engine, Keys.name(number)) }
      limit = limit * room / Int(engine.measureNow().entries)
    }
    return limit
  }

  private static func engine(
    _ limit: Int, scans: Bool = false, next: (inout Dice) -> Int
  ) -> (ratio: [Double], entries: [Double]) {
    let engine = MemoryCacheEngine(byteLimit: limit)
    var dice = Dice(seed: 1)
    var hits = 0
    for round in 0..<gets * 2 {
      let key = Keys.name(next(&dice))
      if engine.getNow(key) != nil {
        if round >= gets { hits += 1 }
      } else {
        set(engine, key)
      }
      if scans { set(engine, Keys.name(keys + round)) }
    }
    return ([Double(hits) / Double(gets)], [Double(engine.measureNow().entries)])
  }

  private static func lru(scans: Bool = false, next: (inout Dice) -> Int) -> [Double] {
    var cache = LRU(capacity: room)
    var dice = Dice(seed: 1)
    var hits = 0
    for round in 0..<gets * 2 {
      if cache.get(next(&dice)), round >= gets { hits += 1 }
      if scans { _ = cache.get(keys + round) }
    }
    return [Double(hits) / Double(gets)]
  }
}

/// Numbers from 0 on, the n-th asked for in proportion to n^-exponent.
struct Zipf {
  private var sums: [Double] = []

  init(keys: Int, exponent: Double) {
    var sum = 0.0
    sums.reserveCapacity(keys)
    for rank in 1...keys {
      sum += pow(Double(rank), -exponent)
      sums.append(sum)
    }
  }

  func next(_ dice: inout Dice) -> Int {
    let point = dice.part() * sums[sums.count - 1]
    var (low, high) = (0, sums.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if sums[middle] > point { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Of all gets, those of the most popular ones: what a cache that keeps these answers.
  func share(of kept: Int) -> Double { sums[kept - 1] / sums[sums.count - 1] }
}

/// Keeps what was asked for last.
struct LRU {
  private let capacity: Int
  private var slots: [Int: Int] = [:]
  private var keys: [Int] = []
  private var lists = SlotLists(lists: 1)

  init(capacity: Int) {
    self.capacity = capacity
    lists.extend(toSlots: capacity)
    slots.reserveCapacity(capacity)
  }

  /// Whether a key is there; from now on it is.
  mutating func get(_ key: Int) -> Bool {
    if let slot = slots[key] {
      lists.moveToEnd(slot, of: 0)
      return true
    }
    var slot = keys.count
    if slot < capacity {
      keys.append(key)
    } else if let oldest = lists.first(0) {
      slot = oldest
      lists.remove(slot)
      slots[keys[slot]] = nil
      keys[slot] = key
    }
    slots[key] = slot
    lists.append(slot, to: 0)
    return false
  }
}
