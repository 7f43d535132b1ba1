import KeelsonCacheRules
import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import Synchronization
import Testing

/// How memory in Redis is freed, and kept within its limit.
@Suite(.timeLimit(.minutes(10))) struct RedisSweepTests {
  private static func limits() -> RedisConfiguration.Limits {
    var limits = RedisConfiguration.Limits()
    limits.lookInterval = .milliseconds(20)
    return limits
  }

  @Test func whatAPatternVoidsIsFreedAndTheBanDropped() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(2, on: server.url, limits: Self.limits()) { engines in
      let engine = engines[0]
      for start in stride(from: 0, to: 5_000, by: 1_000) {
        _ = try await engine.set(
          (start..<start + 1_000).map {
            write($0 % 2 == 0 ? "acme:books:invoice:\($0)" : "acme:crm:contact:\($0)", "value")
          })
      }
      let request = CacheLeaseRequest(duration: .seconds(3_600))
      let old = try #require(try await engine.lease("acme:books:x:1", request).lease)
      _ = try await engine.invalidate(.pattern(try CachePattern("acme:books:*")))
      _ = try await engine.set([write("acme:books:invoice:0", "new")])
      try await eventually { try await server.run("HLEN keelson:cache:bans") == ["0"] }
      #expect(try await server.run("HGET keelson:cache:meta bans") == ["0"])
      let left = try await server.run("--raw KEYS 'keelson:cache:*:acme:books:*'")
      #expect(left == ["keelson:cache:e:acme:books:invoice:0"])
      // Nothing was taken that is current, and what was asked for before the ban cannot be stored.
      #expect(try await engine.text("acme:books:invoice:0") == "new")
      #expect(try await engines[1].text("acme:crm:contact:4999") == "value")
      #expect(try await engine.fill(write("acme:books:x:1", "old"), under: old) == .leaseLost)
      #expect(try await engines[1].text("acme:books:x:1") == nil)
    }
    await server.stop()
  }

  /// Redis has time for all else, also where there are many keys of others. When room for patterns runs
  /// out there is no rest.
  @Test func aSweepRestsBetweenItsBatches() async throws {
    let server = try PrivateRedis()
    let lines = Mutex<[String]>([])
    let logger = Logger(component: "redis", minimum: .debug, humanReadable: false) { line in
      lines.withLock { $0.append(line) }
    }
    try await server.run("DEBUG POPULATE 20000 theirs 10")
    var limits = Self.limits()
    limits.view.bans = 3
    try await RedisTestEngines.run(on: server.url, limits: limits, logger: logger) { engines in
      func rests() -> [Bool] {
        lines.withLock { lines in
          lines.filter { $0.contains("was swept") }
            .map { $0.contains("rested") && !$0.contains(#""rested":"0.0 seconds""#) }
        }
      }
      try await eventually { !rests().isEmpty }
      // That is said ahead of giving back the lock: what is set from here on stays.
      try await eventually { try await server.run("EXISTS keelson:cache:sweep") == ["0"] }
      try await server.run("SET keelson:cache:sweep 1")
      for pattern in ["acme:a:*", "acme:b:*"] {
        _ = try await engines[0].invalidate(.pattern(try CachePattern(pattern)))
      }
      try await server.run("DEL keelson:cache:sweep")
      try await eventually { rests().count > 1 }
      #expect(rests() == [true, false])
    }
    await server.stop()
  }

  /// What a get has read and a sweep then deletes is judged by the ban, though that is dropped by then.
  @Test func aGetThatASweepOvertakesGivesNothingVoid() async throws {
    var limits = Self.limits()
    limits.lookInterval = .milliseconds(3)
    try await RedisTestEngines.run(6, limits: limits) { engines in
      let pattern = try CachePattern("acme:books:*")
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (number, engine) in engines.engines.enumerated() {
          group.addTask {
            for round in 0..<150 {
              let key = "acme:books:invoice:\(number)-\(round)"
              _ = try await engine.set([write(key, "old")])
              _ = try await engine.invalidate(.pattern(pattern))
              let text = try await engine.text(key)
              #expect(text == nil)
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func allThatIsVoidIsFreedAfterAFlush() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(on: server.url, limits: Self.limits()) { engines in
      // What others keep there is left alone.
      try await server.run("SET theirs 1")
      try await server.run("SET keelson:cache:e:odd strange")
      _ = try await engines[0].set((0..<1_000).map { write("acme:books:invoice:\($0)", "value") })
      _ = try await engines[0].invalidate(.all)
      _ = try await engines[0].set([write("acme:books:invoice:1", "new")])
      try await eventually {
        let keys = try await server.run("--raw KEYS '*'").filter { !$0.contains("sweep") }
        return Set(keys) == [
          "theirs", "keelson:cache:e:odd", "keelson:cache:e:acme:books:invoice:1",
          "keelson:cache:meta",
        ]
      }
      #expect(try await engines[0].text("acme:books:invoice:1") == "new")
    }
    await server.stop()
  }

  /// The server that sweeps has died: its lock ends, and another goes on.
  @Test func anotherTakesOverASweep() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(on: server.url, limits: Self.limits()) { engines in
      try await eventually { try await server.run("HGET keelson:cache:meta swept") == ["0"] }
      try await server.run("SET keelson:cache:sweep 1 PX 200")
      _ = try await engines[0].set([write("acme:books:invoice:1", "value")])
      _ = try await engines[0].invalidate(.pattern(try CachePattern("acme:*")))
      try await eventually { try await server.run("EXISTS keelson:cache:sweep") == ["0"] }
      try await eventually {
        try await server.run("EXISTS keelson:cache:e:acme:books:invoice:1") == ["0"]
      }
    }
    await server.stop()
  }

  @Test func tooManyPatternsAreRefusedUntilASweepHasEnded() async throws {
    let server = try PrivateRedis()
    var limits = Self.limits()
    limits.view.bans = 3
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      try await eventually { try await server.run("HGET keelson:cache:meta swept") == ["0"] }
      try await server.run("SET keelson:cache:sweep 1")
      for number in 0..<3 {
        _ = try await engines[0].invalidate(.pattern(try CachePattern("a\(number):*")))
      }
      let error = await #expect(throws: CacheEngineError.self) {
        try await engines[0].invalidate(.pattern(try CachePattern("a3:*")))
      }
      #expect(error?.code == .full)
      // One of those that wait may come again.
      _ = try await engines[0].invalidate(.pattern(try CachePattern("a1:*")))
      try await server.run("DEL keelson:cache:sweep")
      try await eventually {
        do {
          _ = try await engines[0].invalidate(.pattern(try CachePattern("a3:*")))
          return true
        } catch let error as CacheEngineError where error.code == .full {
          return false
        }
      }
    }
    await server.stop()
  }

  @Test(arguments: ["noeviction", "allkeys-lru", "allkeys-lfu", "volatile-ttl"])
  func aFullRedisStoresNothingUntilThereIsRoom(_ policy: String) async throws {
    let server = try PrivateRedis(settings: ["--maxmemory 8mb", "--maxmemory-policy \(policy)"])
    try await RedisTestEngines.run(on: server.url, limits: Self.limits()) { engines in
      let engine = engines[0]
      let value = String(repeating: "x", count: 10_000)
      _ = try await engine.set([write("acme:books:invoice:0", "old", tags: ["a"])])
      var isFull = false
      var number = 1
      while !isFull {
        let outcome = try await engine.set([write("acme:books:invoice:\(number)", value)])[0]
        isFull = outcome == .full
        number += 1
        try #require(number < 10_000)
      }
      // What was to be replaced is gone: the caller has something newer.
      #expect(try await engine.text("acme:books:invoice:\(number - 1)") == nil)
      // Room is made ahead of Redis's own limit, and then it is stored again. It may have been called full
      // a little early: by what this server has stored since it looked.
      try await eventually {
        number += 1
        _ = try await engine.set([write("acme:books:invoice:\(number)", value)])
        return try await engine.measure().evictions > 0
      }
      try await eventually {
        try await engine.set([write("acme:books:invoice:1", value)])[0] != .full
      }
      let measure = try await engine.measure()
      #expect(measure.memoryLimitBytes == UInt64(8 << 20) / 100 * 80)
      #expect(measure.memoryBytes < UInt64(8 << 20))
    }
    await server.stop()
  }

  /// Room is made while a sweep, which rests, goes through the keys of others.
  @Test func aFullRedisDoesNotWaitForASweep() async throws {
    let server = try PrivateRedis(settings: ["--maxmemory-policy noeviction"])
    try await server.run("DEBUG POPULATE 200000 theirs 10")
    try await RedisTestEngines.run(on: server.url, limits: Self.limits()) { engines in
      let engine = engines[0]
      let locks = "EXISTS keelson:cache:sweep"
      let isSwept = "HGET keelson:cache:meta swept"
      try await eventually { try await server.run(isSwept) == ["0"] }
      _ = try await engine.set((0..<1_000).map { write("acme:books:invoice:\($0)", "value") })
      try await eventually { try await server.run(locks) == ["0"] }
      _ = try await engine.invalidate(.pattern(try CachePattern("other:*")))
      try await eventually { try await server.run(locks) == ["1"] }
      try await server.run("CONFIG SET maxmemory 8mb")
      try await eventually { try await engine.measure().evictions > 0 }
      #expect(try await server.run(locks) == ["1"], "the sweep goes on")
    }
    await server.stop()
  }

  /// A Redis that others have filled: invalidations go on, nothing is stored.
  @Test func whatIsVoidIsVoidInAFullRedis() async throws {
    let server = try PrivateRedis(settings: ["--maxmemory-policy noeviction"])
    try await RedisTestEngines.run(on: server.url, limits: Self.limits()) { engines in
      let engine = engines[0]
      let keys = (0..<4).map { "acme:books:invoice:\($0)" }
      _ = try await engine.set(keys.map { write($0, "old", tags: [$0]) })
      let lease = try #require(
        try await engine.lease("a:b:c:1", CacheLeaseRequest(duration: .seconds(3_600))).lease)
      try await server.run("DEBUG POPULATE 5000 theirs 1000")
      try await server.run("CONFIG SET maxmemory 2mb")
      #expect(try await engine.set([write(keys[0], "new")]) == [.full])
      #expect(try await engine.text(keys[0]) == nil)
      #expect(try await engine.fill(write("a:b:c:1", "x"), under: lease) == .full)
      let other = try await engine.lease("a:b:c:2", CacheLeaseRequest(duration: .seconds(60)))
      #expect(other.lease != nil, "one at a time loads, whoever keeps it")
      _ = try await engine.invalidate(.tags([keys[1]]))
      #expect(try await engine.text(keys[1]) == nil)
      _ = try await engine.delete([keys[2]])
      #expect(try await engine.text(keys[2]) == nil)
      _ = try await engine.invalidate(.pattern(try CachePattern("acme:*")))
      #expect(try await engine.text(keys[3]) == nil)
      _ = try await engine.invalidate(.all)
    }
    await server.stop()
  }
}
