import KeelsonCacheRules
import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// What happens when Redis is restarted, emptied, slow, or loses what it has to remember.
@Suite(.timeLimit(.minutes(10))) struct RedisFaultTests {
  private static let key = "acme:books:invoice:1"
  private static let request = CacheLeaseRequest(duration: .seconds(3_600))

  private static func epoch(_ engine: RedisCacheEngine) async throws -> UInt64 {
    guard case .stored(let position, _) = try await engine.set([write("a:b:c:d", "x")])[0] else {
      return 0
    }
    return position.epoch
  }

  @Test func aRedisThatComesBackWithItsOldDumpGivesNothingOld() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(2, on: server.url) { engines in
      _ = try await engines[0].set([
        write(Self.key, "old"), write("acme:books:invoice:2", "old", tags: ["a"]),
      ])
      let lease = try #require(try await engines[0].lease("a:b:c:1", Self.request).lease)
      let before = try await Self.epoch(engines[0])
      try await server.run("SAVE")
      // Acknowledged, and lost with the process.
      _ = try await engines[0].invalidate(.keys([Self.key]))
      _ = try await engines[0].invalidate(.tags(["a"]))
      try await server.kill()
      try await server.start()
      try await eventually { try await Self.epoch(engines[1]) != before }
      let keys = [Self.key, "acme:books:invoice:2"]
      try await eventually { try await engines[0].get(keys).allSatisfy { $0 == nil } }
      #expect(try await engines[1].get(keys).allSatisfy { $0 == nil })
      #expect(try await engines[0].fill(write("a:b:c:1", "old"), under: lease) == .leaseLost)
      // What is left of the old epoch is swept.
      try await eventually {
        let keys = try await server.run("--raw KEYS 'keelson:cache:[el]:*'")
        return keys.allSatisfy { $0 == "keelson:cache:e:a:b:c:d" || $0.isEmpty }
      }
    }
    await server.stop()
  }

  /// A get never gives what was void before the restart, at any time while Redis comes back.
  @Test func nothingOldIsGivenWhileRedisComesBack() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(on: server.url) { engines in
      let engine = engines[0]
      _ = try await engine.set([write(Self.key, "old")])
      try await server.run("SAVE")
      _ = try await engine.invalidate(.keys([Self.key]))
      let isOver = Signal<Void>()
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          while !isOver.hasHappened {
            if let text = try? await engine.text(Self.key) { #expect(text == "new") }
            await Task.yield()
          }
        }
        for _ in 0..<3 {
          try await server.kill()
          try await server.start()
          try await eventually { try await engine.text("a:b:c:none") == nil }
        }
        isOver.send()
        try await group.waitForAll()
      }
    }
    await server.stop()
  }

  @Test func anEmptiedRedisBeginsANewEpoch() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(2, on: server.url) { engines in
      let starts = Mutex<[UInt64]>([])
      engines[1].follow { event in
        if case .start(let position) = event { starts.withLock { $0.append(position.epoch) } }
      }
      let before = try await Self.epoch(engines[0])
      let lease = try #require(try await engines[0].lease(Self.key, Self.request).lease)
      try await server.run("FLUSHALL")
      // At the next write, at once; without one, at the next look.
      #expect(try await engines[0].fill(write(Self.key, "old"), under: lease) == .leaseLost)
      let after = try await Self.epoch(engines[0])
      #expect(after != before)
      try await eventually { starts.withLock { $0.last } == after }
      #expect(try await Self.epoch(engines[1]) == after)
      try await server.run("FLUSHDB")
      try await eventually { starts.withLock { $0.last } != after }
    }
    await server.stop()
  }

  /// An entry that ended with its epoch while it was being touched is not found.
  @Test func aTouchThatANewEpochOvertakesFindsNothing() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.lookInterval = .seconds(3_600)
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      _ = try await engines[0].set([write(Self.key, "old")])
      try await server.run("DEL keelson:cache:meta")
      #expect(try await engines[0].touch([Self.key], longLife) == [false])
    }
    await server.stop()
  }

  /// Nothing of ours is of another type: it is no entry and no lease, and keeps no sweep from its end.
  @Test func whatIsOfAnotherTypeIsNoEntry() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.lookInterval = .milliseconds(20)
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      let engine = engines[0]
      let keys = (1...4).map { "acme:books:invoice:\($0)" }
      for key in keys {
        try await server.run("RPUSH keelson:cache:e:\(key) theirs")
        try await server.run("RPUSH keelson:cache:l:\(key) theirs")
      }
      #expect(try await engine.get(keys).allSatisfy { $0 == nil })
      #expect(try await engine.touch([keys[0]], longLife) == [false])
      _ = try await engine.invalidate(.pattern(try CachePattern("acme:*")))
      try await eventually { try await server.run("HLEN keelson:cache:bans") == ["0"] }
      let lease = try #require(try await engine.lease(keys[1], Self.request).lease)
      let filled = try await engine.fill(write(keys[1], "loaded"), under: lease)
      #expect(filled == .stored(lease.position))
      #expect(try await engine.delete([keys[2]]).found == [false])
      _ = try await engine.set([write(keys[3], "set")])
      #expect(try await engine.text(keys[1]) == "loaded")
      #expect(try await engine.text(keys[3]) == "set")
    }
    await server.stop()
  }

  @Test(arguments: ["tags", "bans", "meta"])
  func whatHasToBeRememberedAndWasEvictedIsMissed(_ what: String) async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(2, on: server.url) { engines in
      _ = try await engines[0].set([write(Self.key, "old", tags: ["a"])])
      let before = try await Self.epoch(engines[0])
      _ = try await engines[0].invalidate(.tags(["a"]))
      if what == "bans" {
        // No sweep may end meanwhile.
        try await server.run("SET keelson:cache:sweep 1")
        _ = try await engines[0].invalidate(.pattern(try CachePattern("acme:*")))
      }
      try await server.run("DEL keelson:cache:\(what)")
      // Remembering more does not hide what is lost.
      _ = try? await engines[0].invalidate(.tags(["b"]))
      _ = try? await engines[0].invalidate(.pattern(try CachePattern("other:*")))
      try await eventually { try await Self.epoch(engines[0]) != before }
      #expect(try await engines[0].text(Self.key) == nil)
      try await eventually { try await engines[1].text(Self.key) == nil }
    }
    await server.stop()
  }

  @Test func scriptsThatWereFlushedAreSentAgain() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(on: server.url) { engines in
      let before = try await Self.epoch(engines[0])
      try await server.run("SCRIPT FLUSH")
      #expect(try await Self.epoch(engines[0]) == before)
      let lease = try #require(try await engines[0].lease(Self.key, Self.request).lease)
      #expect(
        try await engines[0].fill(write(Self.key, "x"), under: lease) == .stored(lease.position))
      #expect(try await engines[0].text(Self.key) == "x")
    }
    await server.stop()
  }

  /// Messages that do not follow one another have the view read anew, and followers start anew.
  @Test func aGapIsNoticed() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(2, on: server.url) { engines in
      _ = try await engines[0].set([write(Self.key, "old", tags: ["a"])])
      let epoch = try await Self.epoch(engines[0])
      let heard = Mutex<[CacheFeedEvent]>([])
      engines[1].follow { event in heard.withLock { $0.append(event) } }
      try await eventually { heard.withLock { !$0.isEmpty } }
      // As if a message had been lost: the tag is void in Redis, and nobody was told.
      let script = """
        local next = redis.call('HINCRBY', 'keelson:cache:meta', 'sequence', 1)
        redis.call('ZADD', 'keelson:cache:tags', next, 'a')
        redis.call('HSET', 'keelson:cache:meta', 'tags', 1)
        """
      try await server.run("EVAL \"\(script.split(separator: "\n").joined(separator: " "))\" 0")
      #expect(try await engines[1].text(Self.key) == "old")
      _ = try await engines[0].invalidate(.tags(["b"]))
      try await eventually { try await engines[1].text(Self.key) == nil }
      let starts = heard.withLock { events in
        events.count {
          if case .start(let position) = $0 { position.epoch == epoch } else { false }
        }
      }
      #expect(starts == 2)
      // What is not ours is passed over.
      try await server.run("PUBLISH keelson:cache:invalidations:0 nonsense")
      try await server.run("PUBLISH keelson:cache:invalidations:0 '1 2 a'")
      #expect(try await Self.epoch(engines[1]) == epoch)
    }
    await server.stop()
  }

  /// What its sender has given up on may have been made void meanwhile by another way.
  @Test func aSetThatArrivesLateIsNotDone() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.commandTimeout = .milliseconds(300)
    limits.connectTimeout = .seconds(10)
    limits.stallTimeout = .seconds(60)
    limits.staleness = .seconds(60)
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      try await eventually {
        _ = try await engines[0].set([write(Self.key, "old")])
        return true
      }
      try await server.pause()
      await #expect(throws: CacheEngineError.self) {
        try await engines[0].set([write(Self.key, "new")])
      }
      try await server.resume()
      // Whatever was sent is carried out ahead of what another connection asks later.
      try await eventually { try await engines[0].text(Self.key) != nil }
      let there = try await server.run("GET keelson:cache:e:\(Self.key)").joined()
      #expect(there.contains("old") && !there.contains("new"))
    }
    await server.stop()
  }

  /// A Redis that does not answer is not waited for, and what it says late is not given.
  @Test func aRedisThatHangsIsUnavailable() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.commandTimeout = .milliseconds(50)
    limits.stallTimeout = .milliseconds(200)
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      let engine = engines[0]
      try await eventually { try await engine.set([write(Self.key, "x")]).count == 1 }
      try await server.pause()
      for _ in 0..<3 {
        let error = await #expect(throws: CacheEngineError.self) {
          try await engine.get([Self.key])
        }
        #expect(error?.code == .unavailable)
        await #expect(throws: CacheEngineError.self) { try await engine.invalidate(.tags(["b"])) }
      }
      try await eventually { engine.age(at: .now) == nil }
      try await server.resume()
      try await eventually { try await engine.text(Self.key) == "x" }
    }
    await server.stop()
  }

  @Test func anEngineStartsWithoutRedisAndFindsItLater() async throws {
    let server = try PrivateRedis()
    try await server.kill()
    let states = Mutex<[Bool]>([])
    let loops = LoopGroup(count: 1)
    var configuration = RedisConfiguration(url: try RedisURL(server.url))
    configuration.limits.commandTimeout = .seconds(5)
    let engine = try RedisCacheEngine(configuration, loops: loops, logger: .silent) { error in
      states.withLock { $0.append(error == nil) }
    }
    try await engine.start()
    let error = await #expect(throws: CacheEngineError.self) { try await engine.get([Self.key]) }
    #expect(error?.code == .unavailable)
    #expect(error?.message.contains("connection refused") == true, "\(error?.message ?? "")")
    #expect(engine.age(at: .now) == nil)
    try await server.start()
    try await eventually { try await engine.text(Self.key) == nil }
    try await server.kill()
    try await eventually { states.withLock { $0.contains(true) && $0.last == false } }
    #expect(states.withLock { $0.first } == false)
    await engine.close()
    await loops.stop()
    await server.stop()
  }

  @Test func whatCannotWorkIsRefusedAtTheStart() async throws {
    let server = try PrivateRedis(settings: ["--requirepass s3cret", "--cluster-enabled yes"])
    for (url, reason) in [
      ("redis://127.0.0.1:\(server.port)", "wants a password"),
      ("redis://:s3cret@127.0.0.1:\(server.port)", "Redis Cluster"),
    ] {
      let loops = LoopGroup(count: 2)
      let engine = try RedisCacheEngine(
        RedisConfiguration(url: try RedisURL(url)), loops: loops, logger: .silent)
      let error = await #expect(throws: CacheEngineError.self) { try await engine.start() }
      #expect(error?.code == .failed && error?.message.contains(reason) == true)
      await engine.close()
      await loops.stop()
    }
    await server.stop()
  }

  /// Closed at any time, an engine leaves nothing on the loops, which end.
  @Test func closesWhileItConnects() async throws {
    let server = try await PrivateRedis.shared.value
    let database = await server.nextDatabase()
    for round in 0..<20 {
      let loops = LoopGroup(count: 2)
      let engine = try RedisCacheEngine(
        RedisConfiguration(url: try RedisURL("\(server.url)/\(database)")), loops: loops,
        logger: .silent)
      let start = Task { try await engine.start() }
      for _ in 0..<round * 5 { await Task.yield() }
      await engine.close()
      _ = await start.result
      await loops.stop()
    }
  }
}
