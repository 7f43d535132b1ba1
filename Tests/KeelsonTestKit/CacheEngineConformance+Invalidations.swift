import KeelsonCacheRules
import Testing

extension CacheEngineConformance {
  static let invalidations = [
    Self("deletes by key, and says what was there") { engine in
      _ = try await engine.set([
        write(key(1), "one"), write(key(2), "two"), write(key(3), "three", tags: ["a"]),
      ])
      _ = try await engine.invalidate(.tags(["a"]))
      let (found, position) = try await engine.delete([key(1), key(9), key(3)])
      // What is void is not there.
      #expect(found == [true, false, false])
      #expect(
        try await engine.get([key(1), key(2), key(3)]).map { $0?.text } == [nil, "two", nil])
      let after = try await engine.store(write(key(1), "again"))
      #expect(after.epoch == position.epoch && after.sequence == position.sequence + 1)
      #expect(try await engine.text(key(1)) == "again")
    },
    Self("invalidates by key") { engine in
      _ = try await engine.set([write(key(1), "one"), write(key(2), "two")])
      _ = try await engine.invalidate(.keys([key(1), key(9)]))
      #expect(try await engine.get([key(1), key(2)]).map { $0?.text } == [nil, "two"])
    },
    Self("invalidates by tag what was stored before, and nothing after") { engine in
      _ = try await engine.set([
        write(key(1), "one", tags: ["a"]), write(key(2), "two", tags: ["b", "c"]),
        write(key(3), "three", tags: ["d"]), write(key(4), "four"),
      ])
      _ = try await engine.invalidate(.tags(["a", "c"]))
      let found = try await engine.get((1...4).map { key($0) }).map { $0?.text }
      #expect(found == [nil, nil, "three", "four"])
      _ = try await engine.store(write(key(1), "again", tags: ["a"]))
      #expect(try await engine.text(key(1)) == "again")
      _ = try await engine.invalidate(.tags(["a"]))
      #expect(try await engine.text(key(1)) == nil)
    },
    Self("invalidates by pattern what was stored before, and nothing after") { engine in
      let keys = ["acme:books:invoice:1", "acme:books:account:1", "acme:crm:invoice:1", "b:c:d:1"]
      _ = try await engine.set(keys.map { write($0, "old") })
      _ = try await engine.invalidate(.pattern(try CachePattern("acme:books:*")))
      #expect(try await engine.get(keys).map { $0?.text } == [nil, nil, "old", "old"])
      _ = try await engine.store(write(keys[0], "new"))
      #expect(try await engine.text(keys[0]) == "new")
      _ = try await engine.invalidate(.pattern(try CachePattern("*:invoice:?")))
      #expect(try await engine.get(keys).map { $0?.text } == [nil, nil, nil, "old"])
    },
    Self("takes the same pattern again and again") { engine in
      let pattern = try CachePattern("acme:books:*")
      for round in 0..<20 {
        _ = try await engine.store(write(key(round), "old"))
        _ = try await engine.invalidate(.pattern(pattern))
        #expect(try await engine.text(key(round)) == nil)
        _ = try await engine.store(write(key(round), "new"))
        #expect(try await engine.text(key(round)) == "new")
      }
    },
    Self("makes all void at once") { engine in
      _ = try await engine.set((0..<50).map { write(key($0), "old", tags: ["a"]) })
      let position = try await engine.invalidate(.all)
      let found = try await engine.get((0..<50).map { key($0) })
      #expect(found.allSatisfy { $0 == nil })
      let after = try await engine.store(write(key(1), "new", tags: ["a"]))
      #expect(after.epoch == position.epoch && after.sequence == position.sequence + 1)
      #expect(try await engine.text(key(1)) == "new")
    },
    Self("gives every invalidation the next sequence") { engine in
      var positions = [try await engine.store(write(key(1), "one"))]
      positions.append(try await engine.invalidate(.keys([key(1), key(2)])))
      positions.append(try await engine.invalidate(.tags(["a", "b"])))
      positions.append(try await engine.invalidate(.pattern(try CachePattern("x:*"))))
      positions.append(try await engine.delete([key(7)]).position)
      positions.append(try await engine.invalidate(.all))
      positions.append(try await engine.store(write(key(1), "one")))
      for (one, next) in zip(positions, positions.dropFirst()) {
        #expect(next.epoch == one.epoch && next.sequence == one.sequence + 1)
      }
    },
  ]

  static let following = [
    Self("tells its follower all that becomes void, in order and without a gap") { engine in
      let first = try await engine.store(write(key(0), "before"))
      let heard = Heard(engine)
      guard case .start(let start)? = await heard.first(1).first else {
        throw Unexpected("no start")
      }
      #expect(start.epoch == first.epoch && start.sequence >= first.sequence)
      _ = try await engine.store(write(key(1), "one"))
      _ = try await engine.invalidate(.keys([key(1), key(2)]))
      _ = try await engine.invalidate(.tags(["a", "b"]))
      _ = try await engine.invalidate(.pattern(try CachePattern("acme:*")))
      _ = try await engine.delete([key(3)])
      _ = try await engine.invalidate(.all)
      // A fill voids nothing.
      let lease = try await engine.newLease(key(4))
      _ = try await engine.fill(write(key(4), "four"), under: lease)
      _ = try await engine.store(write(key(5), "five"))
      let scopes: [Invalidation.Scope] = [
        .keys([key(1)]), .keys([key(1), key(2)]), .tags(["a", "b"]),
        .pattern(try CachePattern("acme:*")), .keys([key(3)]), .all, .keys([key(5)]),
      ]
      let events = await heard.first(1 + scopes.count).dropFirst()
      for (index, event) in events.enumerated() {
        guard case .invalidation(let invalidation) = event else { throw Unexpected("\(event)") }
        #expect(invalidation.sequence == start.sequence + UInt64(index) + 1)
        #expect(invalidation.scope == scopes[index])
      }
    }
  ]
}
