import KeelsonCacheRules
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonCache

@Suite(.timeLimit(.minutes(5))) struct CacheAnnouncerTests {
  private let position = CachePosition(epoch: 7, sequence: 9)

  private func write(_ key: String) -> CacheWrite {
    CacheWrite(
      key: key, value: [1, 2], tags: ["a"], lifetime: CacheLifetime(ttl: .seconds(60)))
  }

  @Test func whoListensHearsOfEntriesAndInvalidations() async throws {
    let telemetry = TelemetryEvents()
    let announcer = CacheAnnouncer(telemetry)
    var origins = 0
    func origin() -> ChangeOrigin {
      origins += 1
      return ChangeOrigin(actor: "somebody")
    }
    announcer.added(write("acme:shop:item:1"), at: position, origin: origin())
    #expect(origins == 0)
    let subscription = telemetry.subscribe(limit: 8) { _ in true }
    announcer.added(write("acme:shop:item:2"), at: position, origin: origin())
    for scope: Invalidation.Scope in [
      .keys(["acme:shop:item:2"]), .tags(["a", "b"]), .pattern(try CachePattern("acme:*")), .all,
    ] {
      announcer.invalidated(scope, at: position, origin: origin())
    }
    let events = try await subscription.next()?.events ?? []
    #expect(
      events.map(\.type) == ["keelson.cache.CacheEntryAdded"]
        + Array(repeating: "keelson.cache.CacheInvalidated", count: 4))
    #expect(
      events.map(\.subject) == ["acme:shop:item:2", "acme:shop:item:2", "tags", "acme:*", "all"])
    #expect(events.allSatisfy { $0.actor == "somebody" })
    #expect(
      events.first?.data.text
        == #"{"bytes":2,"key":"acme:shop:item:2","stamp":"9","tags":["a"],"ttl_seconds":60}"#)
    #expect(events[2].data.text.contains(#""tags":["a","b"]"#))
  }

  @Test(arguments: TestEngine.allCases)
  func fallbacksAndFlushesAreKept(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      let database = test.database
      try await database.migrate([])
      try await database.recordCacheFallback(cause: "Redis does not answer.")
      try await database.recordCacheFallbackEnded(after: .seconds(3), invalidations: 2)
      try await database.change(ChangeOrigin(actor: "admin")) {
        $0.recordFlush(reason: "a new catalogue", at: position)
      }
      let events = try await database.feed.events(
        after: 0, filter: EventFilter(typePrefix: "keelson.cache."), limit: 10)
      #expect(
        events.map(\.type) == [
          "keelson.cache.CacheFallbackActivated", "keelson.cache.CacheFallbackEnded",
          "keelson.cache.CacheFlushed",
        ])
      #expect(events[1].data.text == #"{"duration_seconds":3,"invalidations":2}"#)
      let audited = try await database.read {
        try await $0.first("SELECT count(*) AS number FROM audit_entries")
      }
      #expect(try audited?.get("number") == 1)
    }
  }
}
