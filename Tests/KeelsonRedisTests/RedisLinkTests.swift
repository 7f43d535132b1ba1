import KeelsonCacheRules
import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import Testing

/// How a server keeps what it knows of Redis true.
@Suite(.timeLimit(.minutes(10))) struct RedisLinkTests {
  private static let key = "acme:books:invoice:1"

  private static func calls(_ command: String, _ server: PrivateRedis) async throws -> Int {
    let lines = try await server.run("INFO commandstats")
    let field = "cmdstat_\(command):calls="
    guard let line = lines.first(where: { $0.hasPrefix(field) }) else { return 0 }
    return Int(line.dropFirst(field.count).prefix { $0.isNumber }) ?? 0
  }

  /// It may be behind, whatever it answers.
  @Test func aPrimaryThatBecomesAReplicaIsNoticedWithoutALook() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.lookInterval = .seconds(3_600)
    limits.longestRetryDelay = .milliseconds(50)
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      let engine = engines[0]
      _ = try await engine.set([write(Self.key, "x")])
      try await server.run("REPLICAOF 127.0.0.1 1")
      try await eventually { engine.age(at: .now) == nil }
      await #expect(throws: CacheEngineError.self) { try await engine.get([Self.key]) }
      try await server.run("REPLICAOF NO ONE")
      try await eventually { try await engine.text(Self.key) == "x" }
    }
    await server.stop()
  }

  /// However long Redis takes to answer.
  @Test func allWhoWaitShareOneQuestion() async throws {
    let server = try PrivateRedis()
    var limits = RedisConfiguration.Limits()
    limits.commandTimeout = .seconds(30)
    limits.connectTimeout = .seconds(10)
    limits.stallTimeout = .seconds(60)
    limits.pingInterval = .seconds(3_600)
    limits.staleness = .milliseconds(40)
    try await RedisTestEngines.run(on: server.url, limits: limits) { engines in
      try await server.run("CONFIG RESETSTAT")
      try await server.pause()
      let start = ContinuousClock.now
      while start.duration(to: .now) < .milliseconds(60) {
        _ = engines[0].age(at: .now)
        await Task.yield()
      }
      // One for each half of the staleness, and those of the ticks.
      let most = Int(start.duration(to: .now) / .milliseconds(20)) + 5
      try await server.resume()
      try await eventually { try await Self.calls("ping", server) > 0 }
      #expect(try await Self.calls("ping", server) <= most)
    }
    await server.stop()
  }

  /// No reading of many tags keeps Redis from its other work, and none is missed, also of those that
  /// become void meanwhile.
  @Test func manyTagsAreReadByPages() async throws {
    let server = try PrivateRedis()
    try await RedisTestEngines.run(on: server.url) { engines in
      let engine = engines[0]
      func key(_ number: Int) -> String { "a:b:c:\(number)" }
      let checked = [0, 499, 500, 4_999, 5_000, 5_001, 5_499, 9_999, 10_000, 11_999]
      _ = try await engine.set(checked.map { write(key($0), "old", tags: ["t\($0)"]) })
      _ = try await engine.set((0..<100).map { write("a:b:d:\($0)", "old", tags: ["d\($0)"]) })
      _ = try await engine.set([write("a:b:e:1", "kept", tags: ["kept"])])
      _ = try await engine.invalidate(.tags((0..<12_000).map { "t\($0)" }))
      try await server.run("CONFIG RESETSTAT")
      let meanwhile = Task {
        for number in 0..<100 { _ = try await engine.invalidate(.tags(["d\(number)", "t0"])) }
      }
      try await RedisTestEngines.run(on: engines.url) { late in
        try await meanwhile.value
        #expect(try await Self.calls("zrange", server) >= 3)
        #expect(try await late[0].get(checked.map(key)).allSatisfy { $0 == nil })
        for number in 0..<100 {
          let text = try await late[0].text("a:b:d:\(number)")
          #expect(text == nil)
        }
        #expect(try await late[0].text("a:b:e:1") == "kept")
      }
    }
    await server.stop()
  }
}
