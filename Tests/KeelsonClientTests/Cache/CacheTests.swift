import Foundation
import KeelsonClient
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// Reading, writing and copies, against a cache server under the test's control.
@Suite(.timeLimit(.minutes(10))) struct CacheTests {
  struct Account: Codable, Sendable, Hashable {
    var name: String
    var balance: Int
  }

  private static let key = "acme:test:account:1"

  /// Reads until a copy has answered.
  private func expectCopy(_ cache: Cache, _ expected: Int, key: String = key) async throws {
    var value: Int?
    let hits = cache.status.nearHits
    while cache.status.nearHits == hits { value = try await cache.get(key) }
    #expect(value == expected)
  }

  @Test func whatIsStoredIsRead() async throws {
    try await withCache { (cache, server) async throws in
      let anna = Account(name: "Anna", balance: 7)
      #expect(try await cache.get(Self.key, as: Account.self) == nil)
      #expect(try await cache.set(Self.key, anna, ttl: Cache.long, tags: ["accounts"]))
      #expect(try await cache.get(Self.key) == anna)
      let stored = try #require(server.entry(Self.key))
      #expect(stored.tags == ["accounts"] && stored.ttl?.clampedDuration == Cache.long)
      #expect(try JSONDecoder().decode(Account.self, from: Data(stored.value)) == anna)
      #expect(try await cache.touch(Self.key))
      #expect(try await cache.delete(Self.key))
      #expect(try await !cache.delete(Self.key))
      #expect(try await !cache.touch(Self.key))
      #expect(try await cache.get(Self.key, as: Account.self) == nil)
    }
  }

  @Test func bytesAreStoredAsTheyAre() async throws {
    try await withCache { (cache, server) async throws in
      let bytes: [UInt8] = [0, 255, 10, 0]
      try await cache.set(Self.key, bytes)
      #expect(server.entry(Self.key)?.value == bytes)
      #expect(try await cache.get(Self.key) == bytes)
      #expect(try await cache.get(Self.key) == Data(bytes))
      try await cache.set(Self.key, Data(bytes))
      #expect(server.entry(Self.key)?.value == bytes)
      try await cache.set(Self.key, "text")
      #expect(server.entry(Self.key)?.value == Array(#""text""#.utf8))
      // No array of nothing is bytes because it could be.
      try await cache.set(Self.key, [String]())
      #expect(server.entry(Self.key)?.value == Array("[]".utf8))
      #expect(try await cache.get(Self.key) == [String]())
      await #expect(throws: DecodingError.self) { try await cache.get(Self.key, as: Int.self) }
    }
  }

  @Test func errorsOfPlainCallsAreThrown() async throws {
    try await withCache { (cache, server) async throws in
      server.fail(RPCError(.unavailable, "away"))
      await #expect(throws: RPCError.self) { try await cache.get(Self.key, as: Int.self) }
      await #expect(throws: RPCError.self) { try await cache.set(Self.key, 1) }
      await #expect(throws: RPCError.self) { try await cache.invalidate(tags: ["a"]) }
    }
  }

  // MARK: Copies

  @Test func aCopyAnswersUntilItIsInvalidated() async throws {
    try await withCache { (cache, server) async throws in
      server.put(Self.key, "1", tags: ["red"])
      try await expectCopy(cache, 1)
      for step in 2...4 {
        let request: KeelsonCacheV1.InvalidateEntriesRequest =
          switch step {
          case 2: .init(keys: [Self.key])
          case 3: .init(tags: ["red"])
          default: .init(patterns: ["acme:*:1"])
          }
        try server.invalidate(request)
        server.put(Self.key, "\(step)", tags: ["red"])
        // Whatever comes first, the old value is gone for good once the new one was seen.
        while try await cache.get(Self.key) != step {}
        try await expectCopy(cache, step)
      }
      #expect(cache.status.invalidations == 3 && cache.status.copies == 1)
      // The hits are told with the pings.
      while server.nearHits == 0 { _ = try await cache.get(Self.key, as: Int.self) }
    }
  }

  @Test func whatThisProcessInvalidatesIsGoneAtOnce() async throws {
    try await withCache { (cache, server) async throws in
      for step in 1...20 {
        server.put(Self.key, "\(step)", tags: ["red"])
        try await expectCopy(cache, step)
        // Nobody tells it of what it does.
        server.lag()
        switch step % 4 {
        case 0: try await cache.invalidate(keys: [Self.key])
        case 1: try await cache.invalidate(tags: ["red"])
        case 2: try await cache.invalidate(patterns: ["acme:*"])
        default: try await cache.delete(Self.key)
        }
        #expect(try await cache.get(Self.key, as: Int.self) == nil)
        try await cache.set(Self.key, -step)
        #expect(try await cache.get(Self.key) == -step)
        try await cache.delete(Self.key)
        server.catchUp()
      }
    }
  }

  @Test func aSetThatIsNotStoredTakesOutItsKeyAlone() async throws {
    try await withCache { (cache, server) async throws in
      let other = "acme:test:account:2"
      server.put(Self.key, "1")
      server.put(other, "2")
      try await expectCopy(cache, 1)
      try await expectCopy(cache, 2, key: other)
      let flushes = cache.status.flushes
      server.fill()
      server.lag()
      #expect(try await !cache.set(Self.key, 3))
      #expect(try await cache.get(Self.key, as: Int.self) == nil)
      #expect(cache.status.flushes == flushes && cache.status.copies == 1)
    }
  }

  @Test func anAnswerThatWasInvalidatedOnItsWayIsAskedForAgain() async throws {
    try await withCache { (cache, server) async throws in
      server.put(Self.key, "1")
      try await expectCopy(cache, 1)
      let other = "acme:test:account:2"
      server.put(other, "1")
      let (arrived, gate) = server.hold("GetEntry")
      async let value = cache.get(other, as: Int.self)
      await arrived.wait()
      let heard = cache.status.invalidations
      try server.invalidate(.init(keys: [other]))
      server.put(other, "2")
      while cache.status.invalidations == heard { await Task.yield() }
      gate.open()
      #expect(try await value == 2)
      try await expectCopy(cache, 2, key: other)
    }
  }

  @Test func anAnswerThatMayBeOutOfDateIsAskedForAgain() async throws {
    // Without a stream nothing vouches for what took longer than the half of nothing.
    try await withCache(
      .with {
        $0.nearCacheBytes = 0
        $0.stalenessLimit = .zero
      }
    ) { (cache, server) async throws in
      server.put(Self.key, "1")
      let (arrived, gate) = server.hold("GetEntry")
      async let value = cache.get(Self.key, as: Int.self)
      await arrived.wait()
      try server.invalidate(.init(keys: [Self.key]))
      server.put(Self.key, "2")
      gate.open()
      #expect(try await value == 2)
      #expect(server.calls("GetEntry") == 3 && cache.status.hits == 1)
    }
  }

  @Test func aKeyThatChangesAllTheTimeIsNotMissing() async throws {
    try await withCache { (cache, server) async throws in
      let other = "acme:test:account:2"
      server.put(other, "1")
      try await expectCopy(cache, 1, key: other)
      server.put(Self.key, "1")
      let hits = cache.status.hits
      var (arrived, gate) = server.hold("GetEntry")
      async let value = cache.get(Self.key, as: Int.self)
      for step in 2...4 {
        await arrived.wait()
        let heard = cache.status.invalidations
        try server.invalidate(.init(keys: [Self.key]))
        server.put(Self.key, "\(step)")
        while cache.status.invalidations == heard { await Task.yield() }
        let last = gate
        if step < 4 { (arrived, gate) = server.hold("GetEntry") }
        last.open()
      }
      // It was true when it was asked for.
      #expect(try await value == 3)
      #expect(cache.status.hits == hits + 1)
    }
  }

  @Test func copiesAreDroppedWithTheirStreamAndComeBack() async throws {
    try await withCache { (cache, server) async throws in
      server.put(Self.key, "1")
      try await expectCopy(cache, 1)
      let flushes = cache.status.flushes
      server.disconnect()
      while cache.status.flushes == flushes { await Task.yield() }
      #expect(cache.status.copies == 0)
      try await expectCopy(cache, 1)
      // A message is missing: so much is known, and no more.
      server.tell(.invalidation(.init(sequence: 9, keys: ["acme:test:account:9"])))
      while cache.status.copies == 1 { await Task.yield() }
    }
  }

  @Test func aStreamWithoutPongsAnswersNothing() async throws {
    try await withCache { (cache, server) async throws in
      server.put(Self.key, "1")
      try await expectCopy(cache, 1)
      server.answersPings(false)
      var calls = 0
      var hits: UInt64 = 0
      repeat {
        // The last pong's time passes. Another may be under way still: then once more.
        while cache.status.isInSync { await Task.yield() }
        hits = cache.status.nearHits
        calls = server.calls("GetEntry")
        #expect(try await cache.get(Self.key) == 1)
      } while cache.status.nearHits > hits
      // Once, or again where the machine was slow.
      #expect((calls + 1...calls + 3).contains(server.calls("GetEntry")))
      server.answersPings(true)
      try await expectCopy(cache, 1)
    }
  }

  @Test func noCopiesAreKeptWithoutRoom() async throws {
    try await withCache(
      .with {
        $0.nearCacheBytes = 0
        // No answer is late.
        $0.stalenessLimit = .seconds(600)
      }
    ) { (cache, server) async throws in
      server.put(Self.key, "1")
      for _ in 0..<3 { #expect(try await cache.get(Self.key) == 1) }
      #expect(server.calls("GetEntry") == 3 && server.calls("WatchInvalidations") == 0)
      #expect(cache.status.copies == 0)
    }
  }

  @Test func manyAreWarmedAFewAtATime() async throws {
    struct Unfit: Error {}
    try await withCache { (cache, server) async throws in
      let keys = (0..<50).map { "acme:test:account:\($0)" }
      server.put(keys[0], "0")
      let running = Mutex((now: 0, most: 0))
      var told = 0
      let warming = try await cache.warm(
        keys, concurrency: 4,
        progress: {
          told += 1
          #expect($0.warm + $0.failed == told && $0.total == 50)
        }
      ) { key in
        running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
        defer { running.withLock { $0.now -= 1 } }
        await Task.yield()
        if key.hasSuffix(":7") { throw Unfit() }
        return key
      }
      #expect(warming.warm == 49 && warming.failed == 1 && told == 50)
      #expect(warming.errors == ["acme:test:account:7: Unfit()"])
      #expect((1...4).contains(running.withLock { $0.most }))
      #expect(server.entry(keys[9])?.value == Array("\"\(keys[9])\"".utf8))
    }
  }
}
