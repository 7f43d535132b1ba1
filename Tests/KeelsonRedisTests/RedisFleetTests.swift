import KeelsonCacheRules
import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import Synchronization
import Testing

/// Two servers on one Redis.
@Suite(.timeLimit(.minutes(10))) struct RedisFleetTests {
  private static let key = "acme:books:invoice:1"
  private static let request = CacheLeaseRequest(duration: .seconds(3_600))

  @Test func whatOneMakesVoidTheOtherDoesNotGive() async throws {
    try await RedisTestEngines.run(2) { engines in
      let pattern = try CachePattern("acme:books:*")
      let scopes: [Invalidation.Scope] = [
        .keys([Self.key]), .tags(["a"]), .pattern(pattern), .all,
      ]
      for round in 0..<40 {
        let (one, other) = (engines[round % 2], engines[1 - round % 2])
        _ = try await one.set([write(Self.key, "\(round)", tags: ["a"])])
        #expect(try await other.text(Self.key) == "\(round)")
        let position = try await one.invalidate(scopes[round / 2 % 4])
        // By the age that it may have: the engine waits for what it does not know yet.
        try await eventually { try await other.text(Self.key) == nil }
        #expect(try await one.text(Self.key) == nil)
        let next = try await other.set([write(Self.key, "next")])
        #expect(
          next == [
            .stored(CachePosition(epoch: position.epoch, sequence: position.sequence + 1))
          ])
      }
    }
  }

  @Test func whoWaitsHereIsWokenByAFillThere() async throws {
    try await RedisTestEngines.run(2) { engines in
      let (one, other) = (engines[0], engines[1])
      for round in 0..<10 {
        let key = "acme:books:invoice:\(round)"
        let lease = try #require(try await one.lease(key, Self.request).lease)
        let outcome = try await other.lease(key, Self.request)
        #expect(outcome.lease == nil)
        let far = ContinuousClock.now.advanced(by: .seconds(3_600))
        async let waiting: Void = other.wait(for: key, after: outcome.ticket, until: far)
        if round % 2 == 0 {
          let filled = try await one.fill(write(key, "loaded"), under: lease)
          #expect(filled == .stored(lease.position))
        } else {
          #expect(try await other.release(lease, of: key))
        }
        await waiting
        #expect(try await other.text(key) == (round % 2 == 0 ? "loaded" : nil))
      }
    }
  }

  /// 100 ask at once on two servers: one gets the lease, and what it stores reaches all.
  @Test func oneOfManyLoads() async throws {
    try await RedisTestEngines.run(2) { engines in
      let loads = try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<100 {
          let engine = engines[number % 2]
          group.addTask {
            while true {
              let outcome = try await engine.lease(Self.key, Self.request)
              if let lease = outcome.lease {
                _ = try await engine.fill(write(Self.key, "loaded"), under: lease)
                return true
              }
              if outcome.isFresh {
                #expect(outcome.entry.map { String(decoding: $0.value, as: UTF8.self) } == "loaded")
                return false
              }
              await engine.wait(
                for: Self.key, after: outcome.ticket, until: .now.advanced(by: .seconds(3_600)))
            }
          }
        }
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(loads == 1)
    }
  }

  /// Loads race with invalidations, on both servers: what was loaded before one is never given after.
  @Test func aLoadThatIsOvertakenIsNeverGiven() async throws {
    try await RedisTestEngines.run(2) { engines in
      let source = Gauge()
      let pattern = try CachePattern("acme:*:invoice:?")
      for round in 0..<150 {
        let engine = engines[round % 2]
        let other = engines[1 - round % 2]
        async let loading: Void = {
          guard let lease = try await engine.lease(Self.key, Self.request).lease else { return }
          let value = source.value
          await Task.yield()
          _ = try await engine.fill(write(Self.key, "\(value)", tags: ["a"]), under: lease)
        }()
        let current = source.increment()
        let scopes: [Invalidation.Scope] = [
          .keys([Self.key]), .tags(["a"]), .pattern(pattern), .all,
        ]
        _ = try await other.invalidate(scopes[round % 4])
        if let text = try await other.text(Self.key) { #expect(text == "\(current)") }
        try await loading
        if let text = try await other.text(Self.key) { #expect(text == "\(current)") }
        _ = try await other.delete([Self.key])
      }
    }
  }

  private final class Gauge: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    func increment() -> Int {
      state.withLock { value in
        value += 1
        return value
      }
    }
  }

  @Test func databasesOfOneRedisAreApart() async throws {
    let server = try await PrivateRedis.shared.value
    let (first, second) = (await server.nextDatabase(), await server.nextDatabase())
    try await RedisTestEngines.run(on: "\(server.url)/\(first)") { one in
      try await RedisTestEngines.run(on: "\(server.url)/\(second)") { other in
        _ = try await one[0].set([write(Self.key, "one", tags: ["a"])])
        _ = try await other[0].set([write(Self.key, "other", tags: ["a"])])
        _ = try await one[0].invalidate(.tags(["a"]))
        _ = try await one[0].invalidate(.all)
        #expect(try await one[0].text(Self.key) == nil)
        #expect(try await other[0].text(Self.key) == "other")
      }
    }
  }

  /// A server that joins late knows what had become void before.
  @Test func whoComesLaterReadsWhatHasBecomeVoid() async throws {
    try await RedisTestEngines.run { engines in
      let one = engines[0]
      let kept = "acme:crm:contact:1"
      _ = try await one.set([
        write("a:b:c:1", "1", tags: ["x"]), write("a:b:c:2", "2"), write(kept, "3", tags: ["y"]),
      ])
      let lease = try #require(try await one.lease("a:b:d:1", Self.request).lease)
      _ = try await one.invalidate(.tags(["x", "z"]))
      _ = try await one.invalidate(.pattern(try CachePattern("a:b:?:2")))
      try await RedisTestEngines.run(on: engines.url) { late in
        let found = try await late[0].get(["a:b:c:1", "a:b:c:2", kept])
        #expect(found.map { $0 != nil } == [false, false, true])
        _ = try await late[0].fill(write("a:b:d:1", "old", tags: ["z"]), under: lease)
        #expect(try await late[0].text("a:b:d:1") == nil)
      }
    }
  }

  /// More tags than are remembered: what is older than the forgotten is void for all.
  @Test func forgottenTagsMakeTooMuchVoidNeverTooLittle() async throws {
    var limits = RedisConfiguration.Limits()
    limits.view.tags = 10
    try await RedisTestEngines.run(2, limits: limits) { engines in
      _ = try await engines[0].set([write(Self.key, "old", tags: ["t0"])])
      for number in 0..<30 { _ = try await engines[number % 2].invalidate(.tags(["t\(number)"])) }
      try await eventually { try await engines[1].text(Self.key) == nil }
      try await RedisTestEngines.run(on: engines.url, limits: limits) { late in
        #expect(try await late[0].text(Self.key) == nil)
        _ = try await late[0].set([write(Self.key, "new", tags: ["t0"])])
        #expect(try await late[0].text(Self.key) == "new")
      }
      #expect(try await engines[0].text(Self.key) == "new")
    }
  }
}
