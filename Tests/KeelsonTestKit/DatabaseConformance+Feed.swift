import KeelsonStore
import Synchronization
import Testing

extension DatabaseConformance {
  static let feed = [
    DatabaseConformance(things: "events are filtered, limited and in order") { database in
      for number in 0..<6 {
        try await Things.change(
          "\(number)", type: number % 2 == 0 ? "keelson.a.X" : "keelson.b.X", in: database)
      }
      let feed = database.feed
      let a = try await feed.events(
        after: 1, filter: EventFilter(typePrefix: "keelson.a."), limit: 10)
      #expect(a.map(\.revision) == [3, 5])
      let limited = try await feed.events(after: 1, limit: 2)
      #expect(limited.map(\.revision) == [2, 3])
    },

    DatabaseConformance(things: "a subscription joins stored and live events") { database in
      for number in 0..<300 { try await Things.change("\(number)", in: database) }
      let subscription = database.feed.subscribe(after: 10)
      let reader = Task {
        var revisions: [Int64] = []
        for try await event in subscription {
          revisions.append(event.revision)
          if event.revision == 600 { break }
        }
        return revisions
      }
      for number in 300..<600 { try await Things.change("\(number)", in: database) }
      let revisions = try await reader.value
      #expect(revisions == Array(11...600))
    },

    DatabaseConformance(things: "a subscription waits for what its filter lets through") {
      database in
      var events = database.feed.subscribe(
        after: 0, filter: EventFilter(typePrefix: "keelson.b.")
      ).makeAsyncIterator()
      try await Things.change("1", type: "keelson.b.X", in: database)
      let first = try await events.next()
      #expect(first?.revision == 1)
      for number in 2..<400 {
        try await Things.change("\(number)", type: "keelson.a.X", in: database)
      }
      async let last = Things.change("400", type: "keelson.b.X", in: database)
      let second = try await events.next()
      let revision = try await last
      #expect(second?.revision == revision)
    },

    DatabaseConformance(things: "a follower takes its state in while changes go on") { database in
      try await Things.change("a", in: database)
      let told = Mutex<[Int64]>([])
      let start = try await database.feed.follow {
        try await $0.currentRevision()
      } taking: { revision in
        for key in ["b", "c"] { try await Things.change(key, in: database) }
        #expect(told.withLock { $0.isEmpty })
        return revision
      } _: { events in
        told.withLock { $0 += events.map(\.revision) }
      }
      try await Things.change("d", in: database)
      #expect(start == 1)
      #expect(told.withLock { $0 } == [2, 3, 4])
    },

    DatabaseConformance(things: "a follower is told nothing that its state has already") {
      database in
      // In one commit with others, or not, as it comes.
      for round in 0..<20 {
        let told = Mutex<[Int64]>([])
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 0..<4 {
            group.addTask { try await Things.change("\(round)-\(number)", in: database) }
          }
          let start = try await database.feed.follow {
            try await $0.currentRevision()
          } taking: {
            $0
          } _: { events in
            told.withLock { $0 += events.map(\.revision) }
          }
          try await group.waitForAll()
          let last = try await database.read { try await $0.currentRevision() }
          #expect(told.withLock { $0 } == Array((start + 1)..<(last + 1)))
        }
      }
    },

    DatabaseConformance("a subscription from before the oldest event says so") { storage in
      let first = try await storage.open()
      try await first.migrate([Things.set])
      for key in ["a", "b"] { try await Things.change(key, in: first) }
      try await first.write { transaction in
        try await transaction.execute("UPDATE change_sequence SET compacted_revision = 1")
        try await transaction.execute("DELETE FROM events WHERE revision <= 1")
      }
      await first.close()
      let database = try await storage.open()
      try await database.migrate([Things.set])
      let code = try await storeErrorCode {
        for try await _ in database.feed.subscribe(after: 0) { break }
      }
      #expect(code == .revisionTooOld)
      var events = database.feed.subscribe(after: 1).makeAsyncIterator()
      let next = try await events.next()
      #expect(next?.revision == 2)
      await database.close()
    },

    DatabaseConformance(things: "subscriptions end with their task and with the database") {
      database in
      let subscription = database.feed.subscribe(after: 0)
      let cancelled = Task { for try await _ in subscription {} }
      cancelled.cancel()
      await #expect(throws: CancellationError.self) { try await cancelled.value }
      let finished = Task { for try await _ in subscription {} }
      await database.close()
      try await finished.value
    },

    DatabaseConformance(things: "a cancelled observation sees no more") { database in
      let seen = Mutex(0)
      let observation = database.feed.observe { events in seen.withLock { $0 += events.count } }
      try await Things.change("a", in: database)
      observation.cancel()
      try await Things.change("b", in: database)
      #expect(seen.withLock { $0 } == 1)
    },
  ]
}
