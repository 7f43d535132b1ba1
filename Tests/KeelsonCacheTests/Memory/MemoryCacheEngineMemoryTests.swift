import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonCache

struct MemoryCacheEngineMemoryTests {
  private let hour = CacheLifetime(ttl: .seconds(3_600))

  /// Distinct keys of all sizes, more than ten times of what fits: never more than the limit, and what
  /// is counted is what is there.
  @Test func aFloodStaysWithinTheLimit() {
    let limit = 6 << 20
    let engine = MemoryCacheEngine(byteLimit: limit)
    let flooded = (0..<20_000).map { "acme:books:account:\($0)" }
    var most: UInt64 = 0
    for number in 0..<20_000 {
      // Holes are left behind now and then, and some entries are mapped by themselves.
      if number.isMultiple(of: 4_000) { _ = engine.deleteNow(flooded.filter { _ in .random() }) }
      let size = 1 << Int.random(in: 4...(number / 4_000 % 2 == 0 ? 9 : 15))
      _ = engine.setNow(
        CacheWrite(
          key: "acme:books:account:\(number)", value: [UInt8](repeating: 1, count: size),
          tags: ["tag-\(number % 100)"], lifetime: hour))
      if number.isMultiple(of: 5) {
        _ = engine.leaseNow(
          "acme:books:lease:\(number)", CacheLeaseRequest(duration: .seconds(3_600)))
      }
      most = max(most, engine.measureNow().memoryBytes)
    }
    #expect(most <= UInt64(limit))
    #expect(most > UInt64(limit) * 8 / 10)
    let measure = engine.measureNow()
    #expect(measure.evictions > 1_000)
    var entries: UInt64 = 0
    for shard in engine.shards {
      shard.state.withLock { state in
        let weights = (0..<state.log.slots).reduce(0) { sum, slot in
          guard let record = state.log.record(slot) else { return sum }
          #expect(state.slots.bytes(of: slot) == state.log.weight(record.bytes))
          return sum + state.log.weight(record.bytes)
        }
        #expect(state.slots.bytes == weights + state.slots.structureBytes)
        #expect(state.log.bytes <= weights + state.log.reserveBytes)
        entries += UInt64((0..<state.log.slots).count { state.log.record($0) != nil })
      }
    }
    #expect(entries == measure.entries)
    // The newest is there, whatever its size.
    #expect(engine.getNow("acme:books:account:19999") != nil)
  }

  /// Leases have their part of the memory; the oldest go for new ones.
  @Test func aFloodOfLeasesIsBounded() throws {
    let engine = MemoryCacheEngine(byteLimit: 2 << 20)
    let request = CacheLeaseRequest(duration: .seconds(3_600))
    let first = try #require(engine.leaseNow("a:b:c:first", request).lease)
    for number in 0..<3_000 { #expect(engine.leaseNow("a:b:c:\(number)", request).lease != nil) }
    let bytes = engine.measureNow().memoryBytes
    #expect(bytes < 200 << 10)
    let write = CacheWrite(key: "a:b:c:first", value: [1], lifetime: hour)
    #expect(engine.fillNow(write, under: first) == .leaseLost)
    #expect(engine.leaseNow("a:b:c:2999", request).ticket != 0)
  }

  /// A value that no shard has room for is not stored, and neither does what it replaces stay.
  @Test func whatIsTooLargeForTheMemoryLeavesNothing() {
    let engine = MemoryCacheEngine(byteLimit: 256 << 10)
    let key = "a:b:c:1"
    _ = engine.setNow(CacheWrite(key: key, value: [1], lifetime: hour))
    let large = [UInt8](repeating: 0, count: 1 << 20)
    #expect(engine.setNow(CacheWrite(key: key, value: large, lifetime: hour)) == .full)
    #expect(engine.getNow(key) == nil)
  }

  /// However large `cache-value-size` is, a shard has room for some.
  @Test func theLargestValuesFit() {
    let engine = MemoryCacheEngine(byteLimit: 256 << 20, valueBytes: 16 << 20)
    let value = [UInt8](repeating: 1, count: 16 << 20)
    for number in 0..<3 {
      let write = CacheWrite(key: "a:b:c:\(number)", value: value, lifetime: hour)
      #expect(engine.setNow(write) != .full)
      #expect(engine.getNow(write.key)?.value.count == value.count)
    }
  }

  /// The larger entry is the last to go of all.
  @Test func whatIsReplacedByALargerOneIsThere() {
    let engine = MemoryCacheEngine(byteLimit: 8 << 20)
    let small = [UInt8](repeating: 1, count: 1_000)
    let large = [UInt8](repeating: 2, count: 3 << 20)
    for number in 0..<9_000 {
      _ = engine.setNow(CacheWrite(key: "a:b:c:\(number)", value: small, lifetime: hour))
      _ = engine.getNow("a:b:c:\(Int.random(in: 0...number))")
    }
    for _ in 0..<100 {
      let key = "a:b:c:\(Int.random(in: 0..<9_000))"
      _ = engine.setNow(CacheWrite(key: key, value: small, lifetime: hour))
      _ = engine.setNow(CacheWrite(key: key, value: large, lifetime: hour))
      #expect(engine.getNow(key)?.value.count == large.count)
    }
  }

  /// All that `cache-ttl` may be.
  @Test func theLongestLifetimeIsCountedWhole() {
    let engine = MemoryCacheEngine(byteLimit: 1 << 20)
    let longest: Duration = .milliseconds(CacheLimits.longestTTLMilliseconds)
    let lifetime = CacheLifetime(ttl: longest, staleFor: longest)
    _ = engine.setNow(CacheWrite(key: "a:b:c:1", value: [1], lifetime: lifetime))
    #expect(engine.getNow("a:b:c:1")?.ttl == longest)
    engine.shards[0].state.withLock { state in
      let records = (0..<state.log.slots).compactMap { state.log.record($0) }
      #expect(records.map { $0.header.freshUntil + longest } == records.map(\.keptUntil))
      #expect(records.count == 1)
    }
  }

  @Test func aSweepFreesWhatIsVoid() throws {
    let engine = MemoryCacheEngine(byteLimit: 32 << 20)
    for number in 0..<3_000 {
      _ = engine.setNow(
        CacheWrite(
          key: "a:b:\(number % 3):\(number)", value: [1], tags: ["t\(number % 10)"],
          lifetime: hour))
    }
    try engine.invalidateNow(.pattern(CachePattern("a:b:0:*")))
    try engine.invalidateNow(.tags(["t1"]))
    #expect(engine.measureNow().entries == 3_000)
    while engine.sweep() {}
    #expect(engine.measureNow().entries == 1_800)
    #expect(engine.order.withLock { $0.view.bans.isEmpty })
    // What has stayed is known to be current without a look.
    let last = engine.lastOfMany.load(ordering: .relaxed)
    for shard in engine.shards {
      shard.state.withLock { state in
        for slot in 0..<state.log.slots {
          #expect(state.log.record(slot).map { $0.header.stamp >= last } ?? true)
        }
      }
    }
    try engine.invalidateNow(.all)
    while engine.sweep() {}
    #expect(engine.measureNow().entries == 0)
  }

  /// Patterns that were made to take long do not: what is left of them counts as matched.
  @Test func whatWouldTakeLongToJudgeIsVoid() throws {
    let engine = MemoryCacheEngine(byteLimit: 32 << 20)
    let long = (0..<2).map { "acme:b:c:\($0)" + String(repeating: "a", count: 500) }
    for key in long + ["acme:b:c:a"] {
      _ = engine.setNow(CacheWrite(key: key, value: [1], lifetime: hour))
    }
    for number in 0..<50 {
      let text = "acme:*\(String(repeating: "a", count: 240))\(number)*a"
      try engine.invalidateNow(.pattern(CachePattern(text)))
    }
    #expect(engine.getNow(long[0]) == nil)
    while engine.sweep() {}
    #expect(engine.measureNow().entries == 1)
    #expect(engine.getNow("acme:b:c:a") != nil)
  }

  @Test func tooManyPatternsHaveToWaitForASweep() throws {
    var limits = InvalidationView.Limits()
    limits.bans = 3
    let engine = MemoryCacheEngine(byteLimit: 1 << 20, limits: limits)
    for number in 0..<3 {
      try engine.invalidateNow(.pattern(CachePattern("a:\(number):*")))
    }
    let before = engine.position
    #expect {
      try engine.invalidateNow(.pattern(CachePattern("b:*")))
    } throws: {
      ($0 as? CacheEngineError)?.code == .full
    }
    #expect(engine.position == before)
    // One that waits already takes no more room.
    try engine.invalidateNow(.pattern(CachePattern("a:0:*")))
    while engine.sweep() {}
    try engine.invalidateNow(.pattern(CachePattern("b:*")))
  }

  /// The service's task lets go of what has expired and of what patterns void.
  @Test(.timeLimit(.minutes(10))) func theTaskFreesMemory() async throws {
    let engine = MemoryCacheEngine(byteLimit: 32 << 20)
    for number in 0..<1_000 {
      let ttl: Duration = number < 500 ? .milliseconds(1) : .seconds(3_600)
      _ = engine.setNow(
        CacheWrite(key: "a:b:c:\(number)", value: [1], lifetime: CacheLifetime(ttl: ttl)))
    }
    try engine.invalidateNow(.pattern(CachePattern("a:b:c:9*")))
    let task = Task { await engine.run() }
    // 1 + 10 + 100 of the keys match, 1 + 10 of them with a short time.
    while engine.measureNow().entries > 400 { await Task.yield() }
    task.cancel()
    await task.value
    #expect(engine.measureNow().entries == 400)
    // Some were void before their time was over.
    #expect((489...500).contains(engine.measureNow().expirations))
  }
}
