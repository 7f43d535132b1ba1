import KeelsonAPI
import KeelsonCacheRules
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Synchronization

@testable import KeelsonCache

/// Warm sets on a database, with an engine and a source that tests script.
struct WarmSetBench: Sendable {
  let engine: ScriptedEngine
  let source = ScriptedSource()
  let counters = CacheCounters()
  let database: any Database
  let sets: WarmSets
  let admin = ChangeOrigin(actor: "admin")

  /// - Parameter real: takes the place of the scripted engine.
  init(
    _ test: TestDatabase, limits: CacheLimits = CacheLimits(), real: (any CacheEngine)? = nil,
    isShared: Bool = false
  ) async throws {
    let scripted = ScriptedEngine()
    engine = scripted
    database = test.database
    try await database.migrate([CacheMigrations.all])
    sets = WarmSets(
      database: database, engine: real ?? scripted, isShared: isShared,
      source: .init(source, origins: [try WarmOrigin("http://shop")]), counters: counters,
      announcer: CacheAnnouncer(TelemetryEvents()), limits: limits, logger: .silent)
  }

  static func run(
    on engine: TestEngine = .sqlite, limits: CacheLimits = CacheLimits(),
    real: (any CacheEngine)? = nil, _ body: (WarmSetBench) async throws -> Void
  ) async throws {
    try await TestDatabase.on(engine) {
      try await body(WarmSetBench($0, limits: limits, real: real))
    }
  }

  static func set(
    _ name: String = "goods", _ sources: [KeelsonCacheV1.WarmEntry.Source] = [.value([1])]
  ) -> KeelsonCacheV1.WarmSet {
    var set = KeelsonCacheV1.WarmSet(name: name)
    set.entries = sources.enumerated().map { index, source in
      .init(key: "acme:shop:\(name):\(index)", source: source, tags: ["goods"])
    }
    return set
  }

  /// Creates a set, loads it and waits until that has ended.
  func load(_ set: KeelsonCacheV1.WarmSet) async throws -> KeelsonCacheV1.WarmSetRun {
    _ = try await sets.create(set, origin: admin)
    return try await loadAgain(set.name)
  }

  func loadAgain(_ name: String) async throws -> KeelsonCacheV1.WarmSetRun {
    _ = try await sets.start(name, origin: admin)
    return try await end(of: name)
  }

  func end(of name: String) async throws -> KeelsonCacheV1.WarmSetRun {
    let last = Mutex(KeelsonCacheV1.WarmSetRun())
    try await sets.watch(name) { run in last.withLock { $0 = run } }
    return last.withLock { $0 }
  }

  func events() async throws -> [CommittedEvent] {
    try await database.feed.events(
      after: 0, filter: EventFilter(typePrefix: "keelson.cache."), limit: 100)
  }
}

/// Answers with the last part of the URL, unless a test has it fail or wait.
final class ScriptedSource: WarmSource {
  let failures = Mutex<[String: String]>([:])
  let fetched = Mutex<[String]>([])
  /// Called in the middle of a fetch.
  let meanwhile = Mutex<@Sendable (String) async -> Void>({ _ in })

  func fetch(_ url: String) async throws(WarmSourceFailure) -> [UInt8] {
    fetched.withLock { $0.append(url) }
    await meanwhile.withLock { $0 }(url)
    if let reason = failures.withLock({ $0[url] }) { throw WarmSourceFailure(reason) }
    return Array((url.split(separator: "/").last ?? "").utf8)
  }
}
