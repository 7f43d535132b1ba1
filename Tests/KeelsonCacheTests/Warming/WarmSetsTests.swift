import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonCache

/// Warm sets as they are kept.
@Suite(.timeLimit(.minutes(5))) struct WarmSetsTests {
  private typealias WarmSet = KeelsonCacheV1.WarmSet

  private func code(_ body: () async throws -> Void) async -> RPCError.Code? {
    do {
      try await body()
      return nil
    } catch {
      return (error as? RPCError)?.code
    }
  }

  @Test(arguments: TestEngine.allCases)
  func aSetIsCreatedChangedAndDeleted(engine: TestEngine) async throws {
    try await WarmSetBench.run(on: engine) { bench in
      let sets = bench.sets
      let created = try await sets.create(
        WarmSetBench.set("goods", [.value([7]), .url("http://shop/a?token=secret")]),
        origin: bench.admin)
      #expect(created.entryCount == 2 && created.concurrency == 8 && !created.etag.isEmpty)
      #expect(try await sets.get("goods") == created)
      #expect(
        await code { _ = try await sets.create(WarmSetBench.set(), origin: bench.admin) }
          == .alreadyExists)

      var update = WarmSet(name: "goods", description: "what sells", onStart: true)
      update.etag = created.etag
      let changed = try await sets.update(
        update, paths: ["description", "on_start"], origin: bench.admin)
      #expect(changed.description == "what sells" && changed.onStart)
      #expect(changed.entries == created.entries && changed.createTime == created.createTime)
      #expect(
        await code { _ = try await sets.update(update, paths: ["*"], origin: bench.admin) }
          == .aborted)
      update.etag = ""
      // Nothing changes: no revision is spent.
      #expect(
        try await sets.update(update, paths: ["description"], origin: bench.admin) == changed)
      for paths in [[], ["name"], ["*", "entries"]] {
        #expect(
          await code { _ = try await sets.update(update, paths: paths, origin: bench.admin) }
            == .invalidArgument)
      }

      #expect(
        await code { try await sets.delete("goods", etag: created.etag, origin: bench.admin) }
          == .aborted)
      try await sets.delete("goods", etag: changed.etag, origin: bench.admin)
      #expect(await code { _ = try await sets.get("goods") } == .notFound)
      #expect(
        try await bench.events().map(\.type) == [
          "keelson.cache.CacheWarmSetCreated", "keelson.cache.CacheWarmSetUpdated",
          "keelson.cache.CacheWarmSetDeleted",
        ])
      let audited = try await bench.database.read {
        try await $0.query("SELECT action, after_state FROM audit_entries ORDER BY sequence")
      }
      #expect(
        try audited.map { try $0.get("action", as: String.self) }
          == ["warm_set.created", "warm_set.updated", "warm_set.deleted"])
      let after = try #require(try audited[0].get("after_state", as: String?.self))
      #expect(after.contains("\"value_bytes\":1") && after.contains("http://shop/a\""))
      #expect(!after.contains("secret"))
    }
  }

  /// Also where it lies behind the entries that the audit trail names, or has as many bytes as before.
  @Test func theAuditTrailShowsThatAnyEntryWasChanged() async throws {
    try await WarmSetBench.run { bench in
      var set = WarmSetBench.set(
        "goods", (0..<102).map { $0 == 0 ? .url("http://shop/a?token=secret") : .value([1]) })
      _ = try await bench.sets.create(set, origin: bench.admin)
      set.entries[101].source = .value([2])
      _ = try await bench.sets.update(set, paths: ["entries"], origin: bench.admin)
      _ = try await bench.sets.update(
        WarmSet(name: "goods", description: "new"), paths: ["description"], origin: bench.admin)
      let digests = try await bench.database.read {
        try await $0.query(
          "SELECT before_state, after_state FROM audit_entries ORDER BY sequence")
      }.flatMap { row in
        try ["before_state", "after_state"].map { column in
          try row.get(column, as: String?.self).flatMap { state in
            state.split(separator: #""entries_sha256":""#).dropFirst().first?.prefix(64)
          }
        }
      }
      try #require(digests.count == 6)
      let (first, second) = (try #require(digests[1]), try #require(digests[3]))
      #expect(first != second && digests[0] == nil)
      #expect(digests[2] == first && digests[4] == second && digests[5] == second)
    }
  }

  @Test(arguments: TestEngine.allCases)
  func listsHavePagesWithoutEntries(engine: TestEngine) async throws {
    try await WarmSetBench.run(on: engine) { bench in
      for name in ["a", "c", "b"] {
        _ = try await bench.sets.create(WarmSetBench.set(name), origin: bench.admin)
      }
      var request = KeelsonCacheV1.ListWarmSetsRequest(pageSize: 2)
      let first = try await bench.sets.list(request)
      #expect(first.warmSets.map(\.name) == ["a", "b"])
      #expect(first.warmSets.allSatisfy { $0.entries.isEmpty && $0.entryCount == 1 })
      request.pageToken = first.nextPageToken
      let last = try await bench.sets.list(request)
      #expect(last.warmSets.map(\.name) == ["c"] && last.nextPageToken.isEmpty)
    }
  }

  @Test func theirNumberIsLimited() async throws {
    var limits = CacheLimits()
    limits.warmSets = 1
    try await WarmSetBench.run(limits: limits) { bench in
      _ = try await bench.sets.create(WarmSetBench.set("a"), origin: bench.admin)
      #expect(
        await code { _ = try await bench.sets.create(WarmSetBench.set("b"), origin: bench.admin) }
          == .resourceExhausted)
    }
  }

  @Test func whatIsWrongIsNamed() throws {
    var limits = CacheLimits()
    limits.valueBytes = 1_024
    limits.warmSetEntries = 3
    limits.warmSetBytes = 2_048
    let validation = WarmSetValidation(
      CacheValidation(limits: limits), origins: [try WarmOrigin("http://shop")])
    func problem(_ change: (inout WarmSet) -> Void) -> String? {
      var set = WarmSetBench.set("goods", [.value([1]), .url("http://shop/a")])
      set.concurrency = 1
      change(&set)
      do {
        try validation.check(set)
        return nil
      } catch {
        return (error as? RPCError)?.message ?? "\(error)"
      }
    }
    #expect(problem { _ in } == nil)
    let cases: [(String, (inout WarmSet) -> Void)] = [
      ("warm_set.name: 'a b' is no name", { $0.name = "a b" }),
      ("warm_set.name: '' is no name", { $0.name = "" }),
      ("warm_set.description: has 5000", { $0.description = String(repeating: "a", count: 5_000) }),
      ("warm_set.concurrency: is 65", { $0.concurrency = 65 }),
      ("warm_set.concurrency: is -1", { $0.concurrency = -1 }),
      ("warm_set.entries: has 0 entries", { $0.entries = [] }),
      ("warm_set.entries: has 4 entries", { $0.entries += $0.entries }),
      ("warm_set.entries[1].key: has 1 of the four parts", { $0.entries[1].key = "a" }),
      (
        "warm_set.entries[1].key: 'acme:shop:goods:0' is the key of entries[0]",
        { $0.entries[1].key = $0.entries[0].key }
      ),
      ("warm_set.entries[0].tags[1]: has a space", { $0.entries[0].tags = ["a", "b c"] }),
      (
        "warm_set.entries[0].lifetime.ttl: is 0.0 seconds",
        { $0.entries[0].lifetime = .init(ttl: .init(Duration.zero)) }
      ),
      ("warm_set.entries[0]: has neither 'value' nor 'url'", { $0.entries[0].source = nil }),
      (
        "warm_set.entries[0].value: has 1025 bytes; 1024 are allowed ('cache-value-size')",
        { $0.entries[0].source = .value(Array(repeating: 0, count: 1_025)) }
      ),
      (
        "warm_set.entries: make a set of",
        {
          $0.entries[0].source = .value(Array(repeating: 0, count: 1_024))
          $0.entries[1].source = .value(Array(repeating: 0, count: 1_024))
        }
      ),
      ("warm_set.entries[0].url: does not begin", { $0.entries[0].source = .url("shop/a") }),
      (
        "warm_set.entries[0].url: this server may not call https://shop:443: it is not among",
        { $0.entries[0].source = .url("https://shop/a") }
      ),
    ]
    for (expected, change) in cases {
      #expect(problem(change)?.hasPrefix(expected) == true, "\(expected): \(problem(change) ?? "")")
    }
  }

  @Test func withoutOriginsEveryURLIsRefusedWithTheSettingThatAllowsIt() {
    let validation = WarmSetValidation(CacheValidation(limits: CacheLimits()), origins: [])
    var set = WarmSetBench.set("goods", [.url("http://shop:8080/a")])
    set.concurrency = 1
    let error = #expect(throws: RPCError.self) { try validation.check(set) }
    #expect(error?.code == .failedPrecondition)
    #expect(
      error?.message.hasSuffix(
        "no origin is allowed. The setting CacheWarmOrigins "
          + "('keelson serve --cache-warm-origin http://shop:8080') allows it.") == true)
  }
}
