import KeelsonCacheRules
import Testing

extension CacheEngineConformance {
  private static let request = CacheLeaseRequest(duration: .seconds(3_600))

  static let leases = [
    Self("gives one lease for a key that is not there") { engine in
      let before = ContinuousClock.now
      let first = try await engine.lease(key(1), request)
      let lease = try #require(first.lease)
      #expect(lease.token != 0 && lease.position.epoch != 0 && lease.duration == .seconds(3_600))
      #expect(first.entry == nil && !first.isFresh)
      let second = try await engine.lease(key(1), request)
      #expect(second.lease == nil && second.entry == nil)
      let ends = try #require(second.leaseEnds)
      #expect(before.duration(to: ends) > .seconds(3_599))
      #expect(ContinuousClock.now.duration(to: ends) < .seconds(3_601))
      let outcome = try await engine.fill(write(key(1), "one", tags: ["a"]), under: lease)
      #expect(outcome == .stored(lease.position))
      let third = try await engine.lease(key(1), request)
      #expect(third.entry?.text == "one" && third.isFresh && third.lease == nil)
      #expect(third.entry?.position == lease.position && third.entry?.tags == ["a"])
    },
    Self("takes a fill once, and from who has the lease") { engine in
      let lease = try await engine.newLease(key(1))
      var other = lease
      other.token ^= 1
      #expect(try await engine.fill(write(key(1), "other"), under: other) == .leaseLost)
      #expect(try await engine.text(key(1)) == nil)
      // A stamp that was made up would hide what became void since.
      var later = lease
      later.position.sequence += 1_000
      #expect(try await engine.fill(write(key(1), "later"), under: later) == .leaseLost)
      #expect(
        try await engine.fill(write(key(1), "one"), under: lease) == .stored(lease.position))
      #expect(try await engine.fill(write(key(1), "two"), under: lease) == .leaseLost)
      #expect(try await engine.text(key(1)) == "one")
    },
    Self("takes no fill of another epoch") { engine in
      var lease = try await engine.newLease(key(1))
      lease.position.epoch ^= 1
      #expect(try await engine.fill(write(key(1), "one"), under: lease) == .leaseLost)
      #expect(try await engine.text(key(1)) == nil)
    },
    Self("takes no fill when the key was invalidated, deleted or set since") { engine in
      let actions: [@Sendable (any CacheEngine) async throws -> Void] = [
        { _ = try await $0.invalidate(.keys([key(1)])) },
        { _ = try await $0.delete([key(1)]) },
        { _ = try await $0.store(write(key(1), "set")) },
      ]
      for (index, action) in actions.enumerated() {
        let lease = try await engine.newLease(key(1))
        try await action(engine)
        #expect(try await engine.fill(write(key(1), "old"), under: lease) == .leaseLost)
        #expect(try await engine.text(key(1)) == (index == 2 ? "set" : nil))
        _ = try await engine.invalidate(.keys([key(1)]))
      }
    },
    Self("gives nothing that was filled when its tag, pattern or all were invalidated since") {
      engine in
      let scopes: [Invalidation.Scope] = [
        .tags(["a"]), .pattern(try CachePattern("acme:*")), .all,
      ]
      for (index, scope) in scopes.enumerated() {
        let lease = try await engine.newLease(key(index))
        _ = try await engine.invalidate(scope)
        _ = try await engine.fill(write(key(index), "old", tags: ["a"]), under: lease)
        #expect(try await engine.text(key(index)) == nil)
        // It can be loaded anew.
        let next = try await engine.newLease(key(index))
        let outcome = try await engine.fill(
          write(key(index), "new", tags: ["a"]), under: next)
        #expect(outcome == .stored(next.position))
        #expect(try await engine.text(key(index)) == "new")
      }
    },
    Self("gives another lease when one has ended") { engine in
      let first = try await engine.newLease(key(1), for: .milliseconds(20))
      var second: CacheLease?
      while second == nil {
        try Task.checkCancellation()
        second = try await engine.lease(key(1), request).lease
      }
      #expect(try await engine.fill(write(key(1), "late"), under: first) == .leaseLost)
      let lease = try #require(second)
      #expect(
        try await engine.fill(write(key(1), "one"), under: lease) == .stored(lease.position))
    },
    Self("gives a lease back once") { engine in
      let lease = try await engine.newLease(key(1))
      #expect(try await engine.release(lease, of: key(1)))
      #expect(try await !engine.release(lease, of: key(1)))
      let next = try await engine.newLease(key(1))
      #expect(try await !engine.release(lease, of: key(1)))
      #expect(
        try await engine.fill(write(key(1), "one"), under: next) == .stored(next.position))
    },
    Self("gives one caller a lease beside a fresh entry that is old enough") { engine in
      _ = try await engine.store(write(key(1), "one"))
      let young = try await engine.lease(
        key(1), CacheLeaseRequest(duration: .seconds(3_600), refreshAfter: 0.9))
      #expect(young.isFresh && young.lease == nil)
      let early = CacheLeaseRequest(duration: .seconds(3_600), refreshAfter: 0.000_000_001)
      let first = try await engine.lease(key(1), early)
      let lease = try #require(first.lease)
      #expect(first.isFresh && first.entry?.text == "one")
      let second = try await engine.lease(key(1), early)
      #expect(second.isFresh && second.entry?.text == "one" && second.lease == nil)
      #expect(
        try await engine.fill(write(key(1), "two"), under: lease) == .stored(lease.position))
      #expect(try await engine.text(key(1)) == "two")
    },
    Self("gives what is stale beside a lease, and to who waits for another's") { engine in
      let lifetime = CacheLifetime(ttl: .milliseconds(20), staleFor: .seconds(3_600))
      _ = try await engine.store(write(key(1), "stale", lifetime))
      try await engine.waitUntilStale(key(1))
      let first = try await engine.lease(key(1), request)
      #expect(first.entry?.text == "stale" && !first.isFresh && first.lease != nil)
      let second = try await engine.lease(key(1), request)
      #expect(second.entry?.text == "stale" && !second.isFresh && second.lease == nil)
      #expect(second.leaseEnds != nil)
      _ = try await engine.invalidate(.keys([key(1)]))
      let third = try await engine.lease(key(1), request)
      #expect(third.entry == nil && third.lease != nil)
    },
    Self("gives one lease to many who ask at once") { engine in
      let count = try await withThrowingTaskGroup(of: Bool.self) { group in
        for _ in 0..<100 {
          group.addTask { try await engine.lease(key(1), request).lease != nil }
        }
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(count == 1)
    },
  ]

  static let waits = [
    Self("wakes who waits for a lease when it is filled, given back or lost") { engine in
      let endings: [@Sendable (any CacheEngine, CacheLease) async throws -> Void] = [
        { _ = try await $0.fill(write(key(1), "one"), under: $1) },
        { _ = try await $0.release($1, of: key(1)) },
        { engine, _ in _ = try await engine.invalidate(.keys([key(1)])) },
        { engine, _ in _ = try await engine.store(write(key(1), "set")) },
      ]
      for ending in endings {
        let lease = try await engine.newLease(key(1))
        let ticket = try await engine.lease(key(1), request).ticket
        let far = ContinuousClock.now.advanced(by: .seconds(3_600))
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<3 {
            group.addTask { await engine.wait(for: key(1), after: ticket, until: far) }
          }
          try? await ending(engine, lease)
        }
        // What has happened since the ticket wakes at once.
        await engine.wait(for: key(1), after: ticket, until: far)
        _ = try await engine.invalidate(.keys([key(1)]))
      }
    },
    Self("waits no longer than until the time") { engine in
      _ = try await engine.newLease(key(1))
      let ticket = try await engine.lease(key(1), request).ticket
      let start = ContinuousClock.now
      await engine.wait(for: key(1), after: ticket, until: start.advanced(by: .milliseconds(30)))
      #expect(start.duration(to: .now) >= .milliseconds(29))
      await engine.wait(for: key(1), after: ticket, until: start)
    },
  ]
}
