import KeelsonCore
import KeelsonStore
import Synchronization
import Testing

extension DatabaseConformance {
  static let changes = [
    DatabaseConformance(things: "a change writes state, audit entry and event") { database in
      let origin = ChangeOrigin(
        actor: "ada", peer: "ipv4:127.0.0.1:5", userAgent: "test", correlationID: "c-1")
      let revision = try await database.change(origin) { change in
        try await Things.insert("a", number: Int(change.revision), in: change)
        change.audit(
          AuditDraft(
            action: "thing.create", entityType: "thing", entityID: "a",
            after: JSONText(["number": 1])))
        return change.emit(
          EventDraft(
            type: "keelson.things.ThingCreated", subject: "a", data: JSONText(["key": "a"]),
            payload: [1, 2]))
      }
      #expect(revision == 1)
      try await database.read { transaction in
        let state = try await transaction.first("SELECT number FROM things WHERE key = 'a'")
        #expect(try state?.get(0) == revision)
        let entry = try #require(
          try await transaction.first(
            """
            SELECT revision, actor, action, entity_type, entity_id, before_state, after_state,
              category, outcome, correlation_id, peer, user_agent FROM audit_entries
            """))
        #expect(
          entry.values == [
            1, "ada", "thing.create", "thing", "a", nil, #"{"number":1}"#, "change", "success",
            "c-1", "ipv4:127.0.0.1:5", "test",
          ])
      }
      let events = try await database.feed.events(after: 0, limit: 10)
      #expect(events.map(\.revision) == [1])
      #expect(events.first?.type == "keelson.things.ThingCreated")
      #expect(events.first?.subject == "a")
      #expect(events.first?.data.text == #"{"key":"a"}"#)
      #expect(events.first?.payload == [1, 2])
      #expect(events.first?.actor == "ada")
      #expect(events.first?.correlationID == "c-1")
      #expect(database.feed.currentRevision == 1)
    },

    DatabaseConformance(things: "a change without audit entry or event is rolled back") {
      database in
      let withoutAudit = try await storeErrorCode {
        try await database.change(.system()) { change in
          try await Things.insert("a", in: change)
          change.emit(EventDraft(type: "keelson.things.A", subject: "a"))
        }
      }
      let withoutEvent = try await storeErrorCode {
        try await database.change(.system()) { change in
          try await Things.insert("b", in: change)
          change.audit(AuditDraft(action: "b", entityType: "thing", entityID: "b"))
        }
      }
      #expect([withoutAudit, withoutEvent] == [.misuse, .misuse])
      let keys = try await Things.keys(in: database)
      #expect(keys == [])
      let rows = try await database.read {
        try await $0.query("SELECT 1 FROM events UNION ALL SELECT 1 FROM audit_entries")
      }
      #expect(rows.isEmpty)
    },

    DatabaseConformance(things: "revisions have no gap under writers that fail and succeed") {
      database in
      for seed in 1...8 { try await checkRevisions(database, seed: UInt64(seed)) }
    },

    DatabaseConformance(things: "the revision goes on after reopening is asked of the table") {
      database in
      for key in ["a", "b"] { try await Things.change(key, in: database) }
      try await database.migrate([Things.set])
      #expect(database.feed.currentRevision == 2)
      let seen = try await database.read { try await $0.currentRevision() }
      #expect(seen == 2)
    },
  ]

  static let appendOnly = [
    DatabaseConformance(things: "events and audit entries can only be added to") { database in
      for key in ["a", "b"] { try await Things.change(key, in: database) }
      let events =
        "INSERT INTO events (revision, time, type, subject, data, payload, actor, "
        + "correlation_id, traceparent) SELECT "
      let rest =
        ", time, 'forged', subject, data, payload, actor, correlation_id, traceparent FROM events"
      var attempts = [
        "UPDATE events SET type = 'forged' WHERE revision = 1",
        "UPDATE events SET revision = 9 WHERE revision = 1",
        "DELETE FROM events WHERE revision = 1",
        events + "1" + rest + " WHERE revision = 1",
        events + "9" + rest + " WHERE revision = 1",
        events + "0" + rest + " WHERE revision = 1",
        "UPDATE audit_entries SET actor = 'forged'",
        "DELETE FROM audit_entries",
      ]
      let audit = """
        INTO audit_entries (sequence, entry_id, time, revision, recorder, actor, action,
        entity_type, entity_id, category, outcome, correlation_id, peer, user_agent,
        subject_key_id, previous_hash, hash)
        """
      let empty = database.dialect.blob([])
      let values =
        ", 1, 1, '', 'forged', '', '', '', '', 'success', '', '', '', '', \(empty), \(empty))"
      attempts += [
        "INSERT \(audit) VALUES (1, 'new'" + values,
        "INSERT \(audit) VALUES (0, 'new'" + values,
        "INSERT \(audit) VALUES (9, 'new'" + values,
        // One follows, the other does not.
        "INSERT \(audit) VALUES (3, 'new'" + values + ", (5, 'newer'" + values,
        "INSERT \(audit) VALUES (2, 'new'" + values + ", (3, 'newer'" + values,
        "INSERT \(audit) VALUES (4, 'new'" + values + ", (5, 'newer'" + values,
        "INSERT \(audit) SELECT 3, entry_id, 1, 1, '', 'forged', '', '', '', '', "
          + "'success', '', '', '', '', \(empty), \(empty) FROM audit_entries WHERE sequence = 1",
      ]
      switch database.dialect {
      case .postgreSQL:
        attempts += [
          "TRUNCATE events", "TRUNCATE audit_entries", "TRUNCATE events, audit_entries CASCADE",
          "INSERT \(audit) VALUES (1, 'new'" + values + " ON CONFLICT (sequence) DO UPDATE SET "
            + "actor = 'forged'",
        ]
      case .sqlite:
        attempts += [
          "INSERT OR REPLACE" + events.dropFirst(6) + "1" + rest + " WHERE revision = 1",
          "UPDATE OR REPLACE events SET revision = 2 WHERE revision = 1",
          "INSERT OR REPLACE \(audit) VALUES (1, 'new'" + values,
          "INSERT OR IGNORE \(audit) VALUES (1, 'new'" + values,
          // A new sequence number, but the entry id of an old row, which REPLACE would delete.
          "INSERT OR REPLACE \(audit) SELECT 3, entry_id, 1, 1, '', 'forged', '', '', '', '', "
            + "'success', '', '', '', '', x'', x'' FROM audit_entries WHERE sequence = 1",
        ]
      }
      let before = try await tables(database)
      for sql in attempts {
        let error = await #expect(throws: StoreError.self, "\(sql)") {
          try await database.write { _ = try await $0.execute(sql) }
        }
        #expect(error?.code == .constraint || error?.code == .conflict, "\(sql)")
      }
      if database.dialect == .postgreSQL {
        // A temporary table in the place of one that the guards look at.
        let shadows = [
          """
          CREATE TEMP TABLE change_sequence ON COMMIT DROP AS SELECT CAST(9 AS BIGINT)
            AS compacted_revision, CAST(9 AS BIGINT) AS archived_audit_sequence
          """,
          "CREATE TEMP TABLE audit_entries ON COMMIT DROP AS SELECT CAST(8 AS BIGINT) AS sequence",
          "CREATE TEMP TABLE events ON COMMIT DROP AS SELECT CAST(8 AS BIGINT) AS revision",
        ]
        for sql in [
          "DELETE FROM public.events", "DELETE FROM public.audit_entries",
          "INSERT \(audit.replacing("INTO audit", with: "INTO public.audit")) VALUES (9, 'new'"
            + values,
          "INSERT INTO public." + events.dropFirst(12) + "9"
            + rest.replacing(
              "FROM events", with: "FROM public.events WHERE revision = 1"),
        ] {
          let error = await #expect(throws: StoreError.self, "\(sql)") {
            try await database.write { transaction in
              for shadow in shadows { try await transaction.execute(shadow) }
              _ = try await transaction.execute(sql)
            }
          }
          #expect(error?.code == .constraint || error?.code == .conflict, "\(sql)")
        }
      }
      let after = try await tables(database)
      #expect(after == before)
    },

    DatabaseConformance(things: "only compacted events may be deleted") { database in
      for key in ["a", "b", "c"] { try await Things.change(key, in: database) }
      let feed = database.feed
      let deleted = try await feed.compact(upTo: 2)
      #expect(deleted == 2)
      let again = try await feed.compact(upTo: 2)
      #expect(again == 0)
      let oldest = try await feed.oldestRevision()
      #expect(oldest == 3)
      let tooOld = try await storeErrorCode { _ = try await feed.events(after: 1, limit: 9) }
      #expect(tooOld == .revisionTooOld)
      let kept = try await feed.events(after: 2, limit: 9)
      #expect(kept.map(\.revision) == [3])
      // No more than there is.
      let rest = try await feed.compact(upTo: 99)
      #expect(rest == 1)
      let next = try await Things.change("d", in: database)
      #expect(next == 4)
    },
  ]

  private static func tables(_ database: any Database) async throws -> [[SQLValue]] {
    try await database.read { transaction in
      let events = try await transaction.query("SELECT * FROM events ORDER BY revision")
      let entries = try await transaction.query("SELECT * FROM audit_entries ORDER BY sequence")
      return (events + entries).map(\.values)
    }
  }

  /// What a writer of the model does after it has begun.
  private enum Plan {
    case succeed(events: Int)
    case throwFirst
    case throwLast(events: Int)
    case conflict
    case forgetEvent
  }

  /// Many writers at once, some failing at any point: the acknowledged revisions, the observed
  /// ones and those in the table are the same, without gap and in order, and each was observed
  /// before it was acknowledged.
  private static func checkRevisions(_ database: any Database, seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let plans: [Plan] = (0..<40).map { _ in
      switch random.next() % 8 {
      case 0: .throwFirst
      case 1: .throwLast(events: Int(random.next() % 3))
      case 2: .conflict
      case 3: .forgetEvent
      default: .succeed(events: 1 + Int(random.next() % 3))
      }
    }
    let base = database.feed.currentRevision
    let observed = ObservedRevisions()
    let observation = database.feed.observe { events in
      observed.append(events)
    }
    var acknowledged: [Int64] = []
    try await withThrowingTaskGroup(of: [Int64].self) { group in
      for (number, plan) in plans.enumerated() {
        group.addTask {
          do {
            let revisions = try await carryOut(plan, key: "\(seed)-\(number)", in: database)
            #expect(Set(observed.all).isSuperset(of: revisions))
            return revisions
          } catch is Deliberate {
            return []
          } catch let error as StoreError where [.conflict, .misuse].contains(error.code) {
            return []
          }
        }
      }
      for try await revisions in group { acknowledged += revisions }
    }
    observation.cancel()
    let expected = Array(base..<base + Int64(acknowledged.count)).map { $0 + 1 }
    #expect(acknowledged.sorted() == expected)
    #expect(observed.all == expected)
    let stored = try await database.feed.events(after: base, limit: 1_000)
    #expect(stored.map(\.revision) == expected)
    #expect(database.feed.currentRevision == base + Int64(acknowledged.count))
  }

  private static func carryOut(_ plan: Plan, key: String, in database: any Database) async throws
    -> [Int64]
  {
    try await database.change(.system()) { change in
      try await Things.insert(key, number: Int(change.revision), in: change)
      if case .throwFirst = plan { throw Deliberate() }
      change.audit(AuditDraft(action: "a", entityType: "thing", entityID: key))
      if case .forgetEvent = plan { return [] }
      if case .conflict = plan { try await Things.insert(key, in: change) }
      var count = 1
      var fails = false
      switch plan {
      case .succeed(let events): count = events
      case .throwLast(let events): (count, fails) = (events, true)
      default: break
      }
      var revisions: [Int64] = []
      for _ in 0..<count {
        revisions.append(
          change.emit(EventDraft(type: "keelson.things.A", subject: key)))
      }
      if fails { throw Deliberate() }
      return revisions
    }
  }
}

extension Things {
  /// A change that adds one thing; returns its revision.
  @discardableResult
  static func change(
    _ key: String, type: String = "keelson.things.ThingCreated", in database: any Database
  ) async throws -> Int64 {
    try await database.change(.system()) { change in
      try await insert(key, number: Int(change.revision), in: change)
      change.audit(AuditDraft(action: "create", entityType: "thing", entityID: key))
      return change.emit(EventDraft(type: type, subject: key))
    }
  }
}

/// What an observer has seen.
private final class ObservedRevisions: Sendable {
  private let revisions = Mutex<[Int64]>([])

  var all: [Int64] { revisions.withLock { $0 } }

  func append(_ events: [CommittedEvent]) {
    revisions.withLock { $0 += events.map(\.revision) }
  }
}
