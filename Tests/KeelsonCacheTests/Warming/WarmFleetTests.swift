import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonCache

/// Runs of warm sets as several servers of one database see them.
@Suite(.timeLimit(.minutes(5))) struct WarmFleetTests {
  private typealias Run = KeelsonCacheV1.WarmSetRun

  /// Two servers with one database, of which the first waits in the midst of the set `goods`.
  private func fleet(
    on engine: TestEngine = .sqlite, limits: CacheLimits = CacheLimits(), isShared: Bool = true,
    _ body: (_ first: WarmSetBench, _ second: WarmSetBench) async throws -> Void
  ) async throws {
    try await TestDatabase.on(engine) { database in
      let first = try await WarmSetBench(database, limits: limits, isShared: isShared)
      let second = try await WarmSetBench(database, limits: limits, isShared: isShared)
      let begun = Signal<Void>()
      first.source.meanwhile.withLock {
        $0 = { _ in
          begun.send()
          _ = await Wakeup().wait()
        }
      }
      var set = WarmSetBench.set(
        "goods", [.value([1]), .url("http://shop/a"), .url("http://shop/b")])
      set.concurrency = 1
      _ = try await first.sets.create(set, origin: first.admin)
      _ = try await first.sets.start("goods", origin: first.admin)
      await begun.wait()
      try await body(first, second)
      first.sets.stop()
      await first.sets.runs.end()
    }
  }

  private func runs(_ bench: WarmSetBench, _ name: String = "goods") async throws -> [Run] {
    try await bench.sets.listRuns(.init(name: name)).runs
  }

  @Test(arguments: TestEngine.allCases)
  func aRunIsWatchedListedJoinedAndCancelledOnAnotherServer(engine: TestEngine) async throws {
    try await fleet(on: engine) { first, second in
      let run = try #require(try await runs(second).first)
      #expect(run.state == .running && run.total == 3 && run.actor == "admin")
      #expect(try await second.sets.start("goods", origin: second.admin).id == run.id)
      let seen = Mutex<[Run]>([])
      let watching = Signal<Void>()
      async let watch: Void = second.sets.watch("goods", run: run.id) { run in
        seen.withLock { $0.append(run) }
        watching.send()
      }
      await watching.wait()
      let other = ChangeOrigin(actor: "other")
      let ended = try await second.sets.cancel("goods", run: run.id, origin: other)
      #expect(ended.state == .cancelled && ended.loaded == 2 && ended.id == run.id)
      try await watch
      #expect(seen.withLock { $0.last } == ended)
      #expect(try await runs(first) == [ended])
      #expect(try await first.sets.cancel("goods", origin: other) == ended)
      let audited = try await first.database.read {
        try await $0.query("SELECT actor, action FROM audit_entries ORDER BY sequence")
      }.dropFirst().map {
        try $0.get("actor", as: String.self) + " " + $0.get("action", as: String.self)
      }
      #expect(
        audited == ["admin warm_set.started", "other warm_set.cancelled", "admin warm_set.loaded"])
    }
  }

  /// The row has an owner that nobody hears of any more.
  @Test(arguments: TestEngine.allCases)
  func theRunOfAServerThatDiedIsLost(engine: TestEngine) async throws {
    try await WarmSetBench.run(on: engine) { bench in
      let run = try await bench.load(WarmSetBench.set())
      try await bench.database.write { transaction in
        var running = run
        running.state = .running
        running.endTime = nil
        try await transaction.execute(
          "UPDATE cache_warm_runs SET is_running = 1, lease_expire_time = 1, body = $1, owner = 'x'",
          [.blob(running.encoded())])
      }
      let lost = try await bench.end(of: "goods")
      #expect(lost.state == .lost && lost.id == run.id && lost.endTime != nil)
      let event = try #require(try await bench.events().last)
      #expect(event.type == "keelson.cache.CacheWarmed" && event.actor == "system")
      #expect(event.data.text.contains(#""state":"lost""#))
      #expect(try await bench.loadAgain("goods").state == .completed)
      #expect(try await runs(bench).map(\.state) == [.completed, .lost])
    }
  }

  /// Others think that its server has died; it has not.
  @Test(arguments: TestEngine.allCases)
  func aRunThatWasCalledLostRunsAgain(engine: TestEngine) async throws {
    var limits = CacheLimits()
    limits.warmLease = .seconds(1)
    try await fleet(on: engine, limits: limits) { first, second in
      let run = try #require(try await runs(second).first)
      try await first.database.write { transaction in
        var lost = run
        lost.state = .lost
        try await transaction.execute(
          "UPDATE cache_warm_runs SET is_running = 0, body = $1", [.blob(lost.encoded())])
      }
      // It says so ten times in a lease.
      while try await runs(second).first?.state != .running { try Task.checkCancellation() }
      let ended = try await second.sets.cancel("goods", run: run.id, origin: second.admin)
      #expect(ended.state == .cancelled && ended.id == run.id)
      #expect(try await runs(first) == [ended])
    }
  }

  /// What a call begins has none of the call's deadline, which PostgreSQL's writer goes by.
  @Test(arguments: TestEngine.allCases)
  func aRunOutlivesTheDeadlineOfItsCall(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { database in
      let bench = try await WarmSetBench(database)
      let (begun, goesOn) = (Signal<Void>(), Wakeup())
      bench.source.meanwhile.withLock {
        $0 = { _ in
          begun.send()
          _ = await goesOn.wait()
        }
      }
      _ = try await bench.sets.create(
        WarmSetBench.set("goods", [.url("http://shop/a")]), origin: bench.admin)
      let deadline = Deadline(after: .seconds(3))
      let context = ServerContext(
        method: MethodDescriptor(service: "test.T", name: "Start", kind: .unary), deadline: deadline
      )
      _ = try await ServerContext.$current.withValue(context) {
        try await bench.sets.start("goods", origin: bench.admin)
      }
      await begun.wait()
      while deadline.remaining > .zero { await Task.yield() }
      goesOn.set()
      await bench.sets.runs.end()
      #expect(try await runs(bench).map(\.state) == [.completed])
    }
  }

  @Test func whereEachServerHasAMemoryItLoadsThat() async throws {
    try await fleet(isShared: false) { _, second in
      let own = try await second.loadAgain("goods")
      #expect(own.state == .completed && second.engine.entries.count == 3)
      #expect(try await runs(second).map(\.state) == [.completed, .running])
    }
  }

  @Test func theNewestRunsOfASetAreKeptUntilItIsDeleted() async throws {
    var limits = CacheLimits()
    limits.warmRunHistory = 3
    try await WarmSetBench.run(limits: limits) { bench in
      var ids = [try await bench.load(WarmSetBench.set()).id]
      _ = try await bench.load(WarmSetBench.set("other"))
      for _ in 0..<4 { ids.append(try await bench.loadAgain("goods").id) }
      #expect(try await runs(bench).map(\.id) == ids.suffix(3).reversed())
      #expect(try await runs(bench, "").count == 4)
      var request = KeelsonCacheV1.ListWarmSetRunsRequest(name: "goods", pageSize: 2)
      let page = try await bench.sets.listRuns(request)
      request.pageToken = page.nextPageToken
      #expect(page.runs.count == 2)
      #expect(try await bench.sets.listRuns(request).runs.map(\.id) == [ids[2]])
      let error = await #expect(throws: RPCError.self) {
        try await bench.sets.watch("goods", run: ids[0]) { _ in }
      }
      #expect(error?.code == .notFound && error?.message.contains("ListWarmSetRuns") == true)
      try await bench.sets.delete("goods", etag: "", origin: bench.admin)
      #expect(try await runs(bench, "").map(\.warmSet) == ["other"])
    }
  }

  @Test func aSetThatIsDeletedElsewhereIsNotLoadedToItsEnd() async throws {
    try await fleet { first, second in
      try await second.sets.delete("goods", etag: "", origin: second.admin)
      await first.sets.runs.end()
      let event = try await first.events().last
      #expect(event?.data.text.contains(#""state":"cancelled""#) == true)
      #expect(try await runs(second, "") == [])
    }
  }
}
