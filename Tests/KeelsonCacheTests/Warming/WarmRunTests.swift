import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonCache

/// Warm sets as they are loaded.
@Suite(.timeLimit(.minutes(5))) struct WarmRunTests {
  @Test func valuesAndURLsAreLoaded() async throws {
    try await WarmSetBench.run { bench in
      let run = try await bench.load(
        WarmSetBench.set("goods", [.value([1, 2]), .url("http://shop/b")]))
      #expect(run.state == .completed && run.total == 2 && run.loaded == 2 && run.failed == 0)
      #expect(run.errors == [] && run.startTime != nil && run.endTime != nil && !run.id.isEmpty)
      let entries = bench.engine.entries
      #expect(entries["acme:shop:goods:0"]?.value == [1, 2])
      #expect(entries["acme:shop:goods:1"]?.value == Array("b".utf8))
      #expect(entries["acme:shop:goods:1"]?.tags == ["goods"])
      #expect(bench.counters[.sets] == 2 && bench.counters[.leases] == 1)
      let event = try #require(try await bench.events().last)
      #expect(event.type == "keelson.cache.CacheWarmed" && event.actor == "admin")
      for part in [#""state":"completed""#, #""loaded":2"#, #""failed":0"#, #""warm_set":"goods""#]
      {
        #expect(event.data.text.contains(part), "\(event.data.text)")
      }
    }
  }

  @Test func whatFailsIsCountedAndTheFirstTenAreNamed() async throws {
    try await WarmSetBench.run { bench in
      let urls = (0..<12).map { "http://shop/\($0)" }
      bench.source.failures.withLock { failures in
        for url in urls { failures[url] = "its URL answered with status 500" }
      }
      var set = WarmSetBench.set("goods", urls.map { .url($0) } + [.value([1])])
      set.concurrency = 1
      let run = try await bench.load(set)
      #expect(run.state == .failed && run.loaded == 1 && run.failed == 12)
      #expect(run.errors.count == 10)
      #expect(run.errors.first == "acme:shop:goods:0: its URL answered with status 500.")
      #expect(bench.engine.state.withLock { $0.released.count } == 12)
      #expect(try await bench.events().last?.data.text.contains(#""state":"failed""#) == true)
    }
  }

  /// What was fetched before an invalidation is not stored after it.
  @Test func whatIsInvalidatedWhileItIsLoadedIsLoadedAnew() async throws {
    try await WarmSetBench.run { bench in
      bench.engine.state.withLock { $0.fills = [.leaseLost] }
      let run = try await bench.load(WarmSetBench.set("goods", [.url("http://shop/a")]))
      #expect(run.state == .completed)
      #expect(bench.source.fetched.withLock { $0.count } == 2)
      bench.engine.state.withLock { $0.fills = Array(repeating: .leaseLost, count: 3) }
      let again = try await bench.loadAgain("goods")
      #expect(again.state == .failed)
      #expect(again.errors.first?.contains("made void each time") == true)
    }
  }

  /// The same on the engine itself, for each way to make void.
  @Test(arguments: [
    Invalidation.Scope.keys(["acme:shop:goods:0"]), .tags(["goods"]), .all,
  ])
  func theEngineGivesNothingThatWasMadeVoidWhileItWasLoaded(
    scope: Invalidation.Scope
  ) async throws {
    let memory: any CacheEngine = MemoryCacheEngine(byteLimit: 16 << 20)
    var limits = CacheLimits()
    (limits.lease, limits.warmTimeout) = (.seconds(3_600), .seconds(3_600))
    try await WarmSetBench.run(limits: limits, real: memory) { bench in
      let changed = Signal<Void>()
      bench.source.meanwhile.withLock {
        $0 = { _ in
          guard !changed.hasHappened else { return }
          _ = try? await memory.invalidate(scope)
          changed.send()
        }
      }
      let run = try await bench.load(WarmSetBench.set("goods", [.url("http://shop/a")]))
      // What was fetched before is void; it was fetched again.
      #expect(run.state == .completed)
      #expect(bench.source.fetched.withLock { $0.count } == 2)
      #expect(try await memory.get(["acme:shop:goods:0"]) != [nil])
    }
  }

  @Test func aFullCacheAndAMissingRedisAreFailures() async throws {
    try await WarmSetBench.run { bench in
      bench.engine.state.withLock {
        $0.sets = [.full, .stored(CachePosition(epoch: 1, sequence: 1), isLocal: true)]
      }
      var set = WarmSetBench.set("goods", [.value([1]), .value([2])])
      set.concurrency = 1
      let run = try await bench.load(set)
      #expect(
        run.errors == [
          "acme:shop:goods:0: the cache is full.",
          "acme:shop:goods:1: Redis cannot be reached: only this server has it, for a short time.",
        ])
    }
  }

  @Test func aRunIsStartedOnceAndCanBeCancelled() async throws {
    var limits = CacheLimits()
    limits.warmRuns = 1
    try await WarmSetBench.run(limits: limits) { bench in
      let begun = Signal<Void>()
      bench.source.meanwhile.withLock {
        $0 = { _ in
          begun.send()
          // Until it is cancelled.
          _ = await Wakeup().wait()
        }
      }
      var set = WarmSetBench.set("goods", [.url("http://shop/a"), .url("http://shop/b")])
      set.concurrency = 1
      _ = try await bench.sets.create(set, origin: bench.admin)
      let first = try await bench.sets.start("goods", origin: bench.admin)
      #expect(first.state == .running && first.total == 2)
      await begun.wait()
      #expect(try await bench.sets.start("goods", origin: bench.admin).id == first.id)
      _ = try await bench.sets.create(WarmSetBench.set("other"), origin: bench.admin)
      let error = await #expect(throws: RPCError.self) {
        try await bench.sets.start("other", origin: bench.admin)
      }
      #expect(error?.code == .resourceExhausted)
      let other = ChangeOrigin(actor: "other")
      let cancelled = try await bench.sets.cancel("goods", origin: other)
      #expect(cancelled.id == first.id && cancelled.state == .cancelled && cancelled.loaded <= 1)
      // It has ended: nothing is done, nor said to have been.
      #expect(try await bench.sets.cancel("goods", origin: other) == cancelled)
      let audited = try await bench.database.read {
        try await $0.query(
          "SELECT actor, attributes FROM audit_entries WHERE action = 'warm_set.cancelled'")
      }
      #expect(try audited.map { try $0.get("actor", as: String.self) } == ["other"])
      #expect(
        try await bench.events().map(\.type).filter { $0.contains("Warm") && !$0.contains("Set") }
          == [
            "keelson.cache.CacheWarmingStarted", "keelson.cache.CacheWarmingCancelled",
            "keelson.cache.CacheWarmed",
          ])
      #expect(
        try audited.first?.get("attributes", as: String.self).contains(first.id) == true)
      #expect(try await bench.events().last?.data.text.contains(#""state":"cancelled""#) == true)
    }
  }

  @Test func thereIsNoRunOfWhatWasNeverLoaded() async throws {
    try await WarmSetBench.run { bench in
      _ = try await bench.sets.create(WarmSetBench.set(), origin: bench.admin)
      for (name, code) in [("goods", RPCError.Code.failedPrecondition), ("x", .notFound)] {
        let watched = await #expect(throws: RPCError.self) {
          try await bench.sets.watch(name) { _ in }
        }
        let cancelled = await #expect(throws: RPCError.self) {
          try await bench.sets.cancel(name, origin: bench.admin)
        }
        #expect(watched?.code == code && cancelled?.code == code)
      }
    }
  }

  @Test(arguments: TestEngine.allCases)
  func onStartWhatIsThereIsLeft(engine: TestEngine) async throws {
    try await WarmSetBench.run(on: engine) { bench in
      var set = WarmSetBench.set(
        "goods", [.value([1]), .url("http://shop/b"), .value([3]), .url("http://shop/d")])
      set.onStart = true
      _ = try await bench.sets.create(set, origin: bench.admin)
      _ = try await bench.sets.create(WarmSetBench.set("other"), origin: bench.admin)
      let lifetime = CacheLifetime(ttl: .seconds(60))
      bench.engine.state.withLock { state in
        for index in 0...1 {
          let key = "acme:shop:goods:\(index)"
          state.entries[key] = CacheWrite(key: key, value: [9], lifetime: lifetime)
        }
      }
      // Redis is there at the second look.
      bench.engine.state.withLock { $0.kinds = [.fallback, .redis] }
      await bench.sets.loadOnStart()
      let event = try await bench.events().last
      let entries = bench.engine.entries
      #expect(entries["acme:shop:goods:0"]?.value == [9])
      #expect(entries["acme:shop:goods:1"]?.value == [9])
      #expect(entries["acme:shop:goods:2"]?.value == [3])
      #expect(entries["acme:shop:goods:3"]?.value == Array("d".utf8))
      #expect(entries["acme:shop:other:0"] == nil)
      #expect(bench.source.fetched.withLock { $0 } == ["http://shop/d"])
      #expect(event?.type == "keelson.cache.CacheWarmed" && event?.actor == "system")
    }
  }

  /// What is stored or invalidated by others since the look at it stays so.
  @Test func onStartAValueIsLoadedUnderALease() async throws {
    try await WarmSetBench.run { bench in
      var set = WarmSetBench.set("goods", [.value([1]), .value([2])])
      (set.onStart, set.concurrency) = (true, 1)
      _ = try await bench.sets.create(set, origin: bench.admin)
      // Somebody loads the first; the second is invalidated meanwhile.
      bench.engine.state.withLock { state in
        state.leases["acme:shop:goods:0"] = 99
        state.fills = [.leaseLost]
      }
      await bench.sets.loadOnStart()
      #expect(bench.engine.entries["acme:shop:goods:0"] == nil)
      #expect(bench.engine.entries["acme:shop:goods:1"]?.value == [2])
      #expect(bench.engine.state.withLock { $0.fills.isEmpty })
      #expect(bench.counters[.leases] == 2 && bench.counters[.setsRefused] == 1)
    }
  }

  @Test(arguments: TestEngine.allCases)
  func onStartASetThatCannotBeReadKeepsNoOtherFromBeingLoaded(engine: TestEngine) async throws {
    try await WarmSetBench.run(on: engine) { bench in
      for name in ["broken", "goods"] {
        var set = WarmSetBench.set(name)
        set.onStart = true
        _ = try await bench.sets.create(set, origin: bench.admin)
      }
      try await bench.database.write { transaction in
        try await transaction.execute(
          "UPDATE cache_warm_sets SET entries = $1 WHERE name = 'broken'", [.blob([0xFF])])
      }
      await bench.sets.loadOnStart()
      #expect(bench.engine.entries["acme:shop:goods:0"] != nil)
    }
  }

  /// What a run has done is recorded, whatever becomes of its set.
  @Test func theRunOfASetThatIsDeletedIsWaitedFor() async throws {
    try await WarmSetBench.run { bench in
      let (begun, may) = (Signal<Void>(), Signal<Void>())
      bench.source.meanwhile.withLock {
        $0 = { _ in
          begun.send()
          await may.wait()
        }
      }
      let life = Task { await bench.sets.run() }
      let set = WarmSetBench.set("goods", [.url("http://shop/a"), .url("http://shop/b")])
      _ = try await bench.sets.create(set, origin: bench.admin)
      _ = try await bench.sets.start("goods", origin: bench.admin)
      await begun.wait()
      try await bench.sets.delete("goods", etag: "", origin: bench.admin)
      life.cancel()
      let ended = Signal<Void>()
      async let end: Void = {
        await life.value
        ended.send()
      }()
      for _ in 0..<1_000 { await Task.yield() }
      #expect(!ended.hasHappened)
      may.send()
      await end
      #expect(try await bench.events().last?.type == "keelson.cache.CacheWarmed")
    }
  }

  @Test func onDemandWhatIsThereIsLoadedAgain() async throws {
    try await WarmSetBench.run { bench in
      let set = WarmSetBench.set("goods", [.value([1]), .url("http://shop/b")])
      _ = try await bench.load(set)
      #expect(try await bench.loadAgain("goods").loaded == 2)
      #expect(bench.counters[.sets] == 4)
      #expect(bench.source.fetched.withLock { $0.count } == 2)
    }
  }

  @Test func aServerThatStopsEndsItsRunsAndBeginsNone() async throws {
    try await WarmSetBench.run { bench in
      let begun = Signal<Void>()
      bench.source.meanwhile.withLock {
        $0 = { _ in
          begun.send()
          _ = await Wakeup().wait()
        }
      }
      let life = Task { await bench.sets.run() }
      _ = try await bench.sets.create(
        WarmSetBench.set("goods", [.url("http://shop/a"), .url("http://shop/b")]),
        origin: bench.admin)
      _ = try await bench.sets.start("goods", origin: bench.admin)
      await begun.wait()
      bench.sets.stop()
      life.cancel()
      await life.value
      #expect(try await bench.end(of: "goods").state != .running)
      #expect(try await bench.events().last?.type == "keelson.cache.CacheWarmed")
      let error = await #expect(throws: RPCError.self) {
        try await bench.sets.start("goods", origin: bench.admin)
      }
      #expect(error?.code == .unavailable)
    }
  }
}
