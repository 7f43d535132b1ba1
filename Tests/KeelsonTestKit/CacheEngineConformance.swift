package import KeelsonCacheRules
import KeelsonCore
import Synchronization
import Testing

/// The contract of ``CacheEngine``, as cases that every engine runs, each with an engine of its own that is
/// empty at first.
package struct CacheEngineConformance: Sendable, CustomTestStringConvertible {
  package let testDescription: String
  package let check: @Sendable (any CacheEngine) async throws -> Void

  init(_ description: String, _ check: @escaping @Sendable (any CacheEngine) async throws -> Void) {
    testDescription = description
    self.check = check
  }

  package static let cases = entries + invalidations + leases + waits + following + [model]
}

// MARK: What the cases are written with

/// A value as text, and the key of a number.
func key(_ id: some CustomStringConvertible) -> String { "acme:books:invoice:\(id)" }

let longLife = CacheLifetime(ttl: .seconds(3_600))

func write(
  _ key: String, _ text: String, tags: [String] = [], _ lifetime: CacheLifetime = longLife
) -> CacheWrite {
  CacheWrite(key: key, value: Array(text.utf8), tags: tags, lifetime: lifetime)
}

extension CacheEntry {
  var text: String { String(decoding: value, as: UTF8.self) }
}

extension CacheEngine {
  func text(_ key: String) async throws -> String? { try await get([key])[0]?.text }

  func store(_ write: CacheWrite) async throws -> CachePosition {
    guard case .stored(let position, false) = try await set([write])[0] else {
      throw CacheEngineConformance.Unexpected("not stored")
    }
    return position
  }

  /// A lease of a key that has none and no entry.
  func newLease(_ key: String, for duration: Duration = .seconds(3_600)) async throws -> CacheLease
  {
    let outcome = try await lease(key, CacheLeaseRequest(duration: duration))
    guard let lease = outcome.lease else { throw CacheEngineConformance.Unexpected("no lease") }
    return lease
  }

  /// Asks until an entry whose time is short is not fresh any more.
  func waitUntilStale(_ key: String) async throws {
    while try await get([key])[0] != nil {
      try Task.checkCancellation()
      await Task.yield()
    }
  }
}

extension CacheEngineConformance {
  struct Unexpected: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  /// What was heard, for a test to wait for.
  final class Heard: Sendable {
    private struct State {
      var events: [CacheFeedEvent] = []
      var waiting: (count: Int, signal: Signal<Void>)?
    }
    private let state = Mutex(State())

    init(_ engine: any CacheEngine) {
      engine.follow { [self] event in
        let signal = state.withLock { state -> Signal<Void>? in
          state.events.append(event)
          guard let waiting = state.waiting, state.events.count >= waiting.count else { return nil }
          return waiting.signal
        }
        signal?.send()
      }
    }

    /// The first so many events, once they are there.
    func first(_ count: Int) async -> [CacheFeedEvent] {
      let signal = Signal<Void>()
      let isThere = state.withLock { state in
        state.waiting = (count, signal)
        return state.events.count >= count
      }
      if !isThere { await signal.wait() }
      return state.withLock { Array($0.events.prefix(count)) }
    }
  }
}

// MARK: Entries

extension CacheEngineConformance {
  static let entries = [
    Self("gives what was stored, and nothing for other keys") { engine in
      let before = UnixTime.now
      let position = try await engine.store(write(key(1), "one", tags: ["a", "b"]))
      let found = try await engine.get([key(2), key(1), key(3)])
      #expect(found[0] == nil && found[2] == nil)
      let entry = try #require(found[1])
      #expect(entry.text == "one" && !entry.isAbsent && entry.tags == ["a", "b"])
      #expect(entry.position == position && position.epoch != 0 && position.sequence > 0)
      #expect(entry.ttl == .seconds(3_600))
      #expect(before.duration(to: entry.freshUntil) > .seconds(3_599))
      #expect(UnixTime.now.duration(to: entry.freshUntil) < .seconds(3_601))
    },
    Self("stores several at once, in place of what was there") { engine in
      _ = try await engine.store(write(key(1), "old", tags: ["a"]))
      let outcomes = try await engine.set((0..<300).map { write(key($0), "value \($0)") })
      #expect(outcomes.count == 300)
      let found = try await engine.get((0..<300).map { key($0) })
      #expect(found.map { $0?.text } == (0..<300).map { "value \($0)" })
      #expect(found[1]?.tags == [])
    },
    Self("knows values that are empty, large, binary, and absent") { engine in
      let large = [UInt8](repeating: 0xA5, count: 1 << 20)
      let binary: [UInt8] = [0, 13, 10, 255, 0]
      _ = try await engine.set([
        CacheWrite(key: key("empty"), value: [], lifetime: longLife),
        CacheWrite(key: key("large"), value: large, lifetime: longLife),
        CacheWrite(key: key("binary"), value: binary, lifetime: longLife),
        CacheWrite(
          key: key("absent"), value: [], isAbsent: true, tags: ["a"], lifetime: longLife),
      ])
      let found = try await engine.get(["empty", "large", "binary", "absent"].map { key($0) })
      #expect(found[0]?.value == [] && found[0]?.isAbsent == false)
      #expect(found[1]?.value == large)
      #expect(found[2]?.value == binary)
      #expect(found[3]?.value == [] && found[3]?.isAbsent == true && found[3]?.tags == ["a"])
    },
    Self("keeps the longest keys and tags, and as many as there may be") { engine in
      let longKey =
        "acme:books:invoice:" + String(repeating: "x", count: CacheKey.maximumBytes - 19)
      let tags = (10..<26).map {
        "\($0)" + String(repeating: "é", count: CacheKey.maximumTagBytes / 2 - 1)
      }
      _ = try await engine.store(write(longKey, "long", tags: tags))
      #expect(try await engine.get([longKey])[0]?.tags == tags)
      _ = try await engine.invalidate(.tags([tags[15]]))
      #expect(try await engine.text(longKey) == nil)
    },
    Self("ends an entry when its time is over") { engine in
      _ = try await engine.store(write(key(1), "short", CacheLifetime(ttl: .milliseconds(20))))
      _ = try await engine.store(
        write(
          key(2), "stale", CacheLifetime(ttl: .milliseconds(20), staleFor: .seconds(3_600))))
      _ = try await engine.store(write(key(3), "long"))
      try await engine.waitUntilStale(key(1))
      try await engine.waitUntilStale(key(2))
      #expect(try await engine.text(key(3)) == "long")
    },
    Self("lets entries that are touched live on, and no others") { engine in
      let short = CacheLifetime(ttl: .milliseconds(20), staleFor: .seconds(3_600))
      let position = try await engine.store(
        write(key(1), "one", tags: ["a"], CacheLifetime(ttl: .seconds(1_800))))
      _ = try await engine.store(write(key(2), "stale", short))
      _ = try await engine.store(write(key(4), "void", tags: ["b"]))
      try await engine.waitUntilStale(key(2))
      let voided = try await engine.invalidate(.tags(["b"]))
      let before = UnixTime.now
      let found = try await engine.touch((1...4).map { key($0) }, longLife)
      // One that is not fresh is not made so: it may be old.
      #expect(found == [true, false, false, false])
      let entry = try #require(try await engine.get([key(1)])[0])
      #expect(entry.text == "one" && entry.tags == ["a"] && entry.position.epoch == position.epoch)
      // An engine may know that nothing up to now concerns it.
      #expect((position.sequence...voided.sequence).contains(entry.position.sequence))
      #expect(entry.ttl == .seconds(3_600))
      #expect(before.duration(to: entry.freshUntil) > .seconds(3_599))
      _ = try await engine.invalidate(.tags(["a"]))
      #expect(try await engine.text(key(1)) == nil)
      // A touch may shorten as well.
      _ = try await engine.store(write(key(5), "five"))
      let shortened = try await engine.touch(
        [key(5)], CacheLifetime(ttl: .milliseconds(20)))
      #expect(shortened == [true])
      try await engine.waitUntilStale(key(5))
    },
    Self("finds what several touch at once") { engine in
      _ = try await engine.store(write(key(1), "one"))
      let found = try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 1...20 {
          group.addTask {
            let lifetime = CacheLifetime(ttl: .seconds(3_600 + number))
            return try await engine.touch([key(1)], lifetime)[0]
          }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(found == [Bool](repeating: true, count: 20))
      #expect(try await engine.text(key(1)) == "one")
    },
    Self("says how much is in it, and that it is up to date") { engine in
      _ = try await engine.set((0..<100).map { write(key($0), "value") })
      let measure = try await engine.measure()
      #expect(measure.entries >= 100 && measure.memoryBytes > 0)
      while (engine.age(at: .now) ?? .seconds(1)) >= .seconds(1) {
        try Task.checkCancellation()
        await Task.yield()
      }
    },
  ]
}
