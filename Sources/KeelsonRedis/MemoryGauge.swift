import KeelsonCacheRules
import Synchronization

/// How full Redis is, and what its clock says. Written on the link's loop, read by everybody.
final class MemoryGauge: Sendable {
  private let usedBytes = Atomic<Int>(0)
  /// 0: no limit.
  private let limitBytes = Atomic<Int>(0)
  private let freedBytes = Atomic<Int>(0)
  /// What this server has stored since it was looked last: a flood is quicker than looks.
  private let addedBytes = Atomic<Int>(0)

  /// About what Redis needs for an entry beside its key and value.
  private static let overheadBytes = 100

  /// This server has stored an entry.
  func add(_ write: CacheWrite) {
    addedBytes.wrappingAdd(
      Self.overheadBytes + write.key.utf8.count + write.value.count, ordering: .relaxed)
  }
  /// Milliseconds since 1970 by Redis's clock, less those of ``MonotonicTime``.
  private let clockOffset = Atomic<Int64>(0)

  /// Whether so much is used that nothing is stored until some is freed.
  var isFull: Bool {
    let limit = limitBytes.load(ordering: .relaxed)
    guard limit > 0 else { return false }
    return usedBytes.load(ordering: .relaxed) + addedBytes.load(ordering: .relaxed) >= limit
  }

  /// Whether enough was freed.
  var isFreed: Bool {
    usedBytes.load(ordering: .relaxed) <= freedBytes.load(ordering: .relaxed)
  }

  /// What Redis has in use, and what the cache lets it have; nil: no limit.
  var memory: (used: Int, limit: Int?) {
    let limit = limitBytes.load(ordering: .relaxed)
    return (usedBytes.load(ordering: .relaxed), limit == 0 ? nil : limit)
  }

  /// Milliseconds since 1970 by Redis's clock: the same for all servers, so that their own clocks do not
  /// matter.
  var redisTime: Int64 {
    MonotonicTime.now / 1_000_000 + clockOffset.load(ordering: .relaxed)
  }

  /// Takes in an answer to TIME: seconds and microseconds.
  func takeTime(_ reply: RedisReply, sent: Int64, received: Int64) {
    guard let parts = reply.array, parts.count == 2, let seconds = parts[0].number,
      let microseconds = parts[1].number, (0..<253_402_300_800).contains(seconds)
    else { return }
    let middle = (sent + (received - sent) / 2) / 1_000_000
    clockOffset.store(seconds * 1_000 + microseconds / 1_000 - middle, ordering: .relaxed)
  }

  func takeMemory(_ information: RedisInformation, limits: RedisConfiguration.Limits) {
    let used = information.number("used_memory") ?? 0
    let maximum = information.number("maxmemory") ?? 0
    // At most the part of Redis's own limit that is the cache's.
    let limit = maximum > 0 ? maximum / 100 * limits.fullPercent : limits.memoryBytes
    usedBytes.store(used, ordering: .relaxed)
    addedBytes.store(0, ordering: .relaxed)
    limitBytes.store(limit, ordering: .relaxed)
    // 75 % of the memory where 80 % is full.
    freedBytes.store(limit / 16 * 15, ordering: .relaxed)
  }
}
