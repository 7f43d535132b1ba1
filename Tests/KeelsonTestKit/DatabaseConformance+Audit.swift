import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore
import Testing

extension DatabaseConformance {
  static let audit = [
    DatabaseConformance(things: "changes and appended entries make one chain") { database in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<30 {
          group.addTask {
            if number.isMultiple(of: 3) {
              _ = try await database.appendAudit((0...number).map { entry("\(number)-\($0)") })
            } else {
              try await Things.change("\(number)", in: database)
            }
          }
        }
        try await group.waitForAll()
      }
      let (entries, head) = try await database.read { transaction in
        (
          try await AuditEntries.select(after: 0, limit: 1_000, in: transaction),
          try await ChangeHead.current(in: transaction)
        )
      }
      // Twenty changes, and 1, 4, 7, ... 28 entries of others.
      #expect(entries.count == 20 + 145)
      var chain = AuditChain()
      for entry in entries { try chain.verify(entry) }
      #expect(chain == head.audit)
      #expect(database.liveEvents.auditSequence == head.audit.sequence)
    },

    DatabaseConformance(things: "an entry comes back as it was recorded") { database in
      var whole = entry("whole")
      whole.occurTime = UnixTime(microseconds: 5)
      whole.recorder = "checkout"
      (whole.before, whole.after, whole.attributes) = ("{}", #"{"a":"é"}"#, "{\"b\":1}")
      (whole.peer, whole.userAgent, whole.correlationID) = ("unix:/a", "test", "c-1")
      (whole.subjectKeyID, whole.sealed) = ("key-1", [0, 255])
      whole.outcome = .denied
      var bare = entry("bare")
      _ = try await database.appendAudit([whole, bare])
      let read = try await database.read {
        try await AuditEntries.select(after: 0, limit: 9, in: $0)
      }
      // The time is that of the appending, not what the caller thought.
      #expect(read.allSatisfy { $0.time > whole.time })
      (whole.time, bare.time) = (read[0].time, read[1].time)
      var chain = AuditChain()
      #expect(read == [chain.append(whole), chain.append(bare)])
    },

    DatabaseConformance(things: "times never go back along the trail, whatever the clock says") {
      database in
      let future = UnixTime(microseconds: UnixTime.now.microseconds + 3_600_000_000)
      try await database.write { transaction in
        try await transaction.execute(
          "UPDATE change_sequence SET last_audit_time = $1", [SQLValue(future)])
      }
      _ = try await database.appendAudit([entry("recorded")])
      try await database.change(.system()) { change in
        change.audit(AuditDraft(action: "test", entityType: "thing", entityID: "a"))
        change.emit(EventDraft(type: "test", subject: "a"))
      }
      let entries = try await database.read {
        try await AuditEntries.select(after: 0, limit: 9, in: $0)
      }
      #expect(entries.map(\.time) == [future, future])
    },

    DatabaseConformance(things: "the trail goes on when some of what is archived was deleted") {
      database in
      _ = try await database.appendAudit(["a", "b", "c"].map(entry))
      try await database.write { transaction in
        try await transaction.execute(
          """
          UPDATE change_sequence SET archived_audit_sequence = 3,
            archived_audit_hash = (SELECT hash FROM audit_entries WHERE sequence = 3)
          """)
        try await transaction.execute("DELETE FROM audit_entries WHERE sequence IN (1, 3)")
      }
      let appended = try await database.appendAudit([entry("d")])
      #expect(appended.map(\.sequence) == [4])
    },

    DatabaseConformance(things: "an entry that is repeated is recorded once") { database in
      let ids = (0..<250).map { "id-\($0)" }
      let first = try await database.appendAudit(ids.map(entry))
      #expect(first.map(\.sequence) == Array(1...250))
      let again = try await database.appendAudit((ids + ["new", "new"]).map(entry))
      let sequences: [Int64] = Array(1...250) + [251, 251]
      #expect(again.map(\.sequence) == sequences)
      #expect(again.suffix(2).map(\.isRepeated) == [false, true])
      #expect(again.prefix(250).filter(\.isRepeated).count == 250)
    },

    DatabaseConformance(things: "the head of changes only moves on, over what is there") {
      database in
      for key in ["a", "b", "c"] { try await Things.change(key, in: database) }
      try await database.feed.compact(upTo: 2)
      let refused = [
        "DELETE FROM change_sequence",
        "UPDATE change_sequence SET last_revision = 2",
        "UPDATE change_sequence SET last_revision = 4",
        "UPDATE change_sequence SET last_audit_sequence = 2",
        "UPDATE change_sequence SET last_audit_sequence = 4",
        "UPDATE change_sequence SET last_audit_hash = \(database.dialect.blob([1]))",
        "UPDATE change_sequence SET compacted_revision = 1",
        "UPDATE change_sequence SET archived_audit_sequence = 2",
        "UPDATE change_sequence SET archived_audit_hash = \(database.dialect.blob([1]))",
        """
        INSERT INTO change_sequence (id, last_revision, last_audit_sequence, last_audit_hash,
          compacted_revision, archived_audit_sequence, archived_audit_hash)
        SELECT 2, last_revision, last_audit_sequence, last_audit_hash, compacted_revision,
          archived_audit_sequence, archived_audit_hash FROM change_sequence
        """,
      ]
      for sql in refused {
        let error = await #expect(throws: StoreError.self, "\(sql)") {
          try await database.write { _ = try await $0.execute(sql) }
        }
        #expect(error?.code == .constraint || error?.code == .conflict, "\(sql)")
      }
      // What an archive does: it names the entry that it ends with.
      try await database.write { transaction in
        try await transaction.execute(
          """
          UPDATE change_sequence SET archived_audit_sequence = 2,
            archived_audit_hash = (SELECT hash FROM audit_entries WHERE sequence = 2)
          """)
        try await transaction.execute("DELETE FROM audit_entries WHERE sequence <= 2")
      }
      let last = try await storeErrorCode {
        try await database.write { _ = try await $0.execute("DELETE FROM audit_entries") }
      }
      #expect(last == .constraint)
      try await Things.change("d", in: database)
    },

    DatabaseConformance(things: "whoever waits for entries is woken") { database in
      let waiting = Task { try await database.liveEvents.waitForAudit(after: 0) }
      _ = try await database.appendAudit([entry("a")])
      let woken = try await waiting.value
      #expect(woken == 1)
      let cancelled = Task { try await database.liveEvents.waitForAudit(after: 1) }
      cancelled.cancel()
      await #expect(throws: CancellationError.self) { try await cancelled.value }
      let finished = Task { try await database.liveEvents.waitForAudit(after: 1) }
      await database.close()
      let none = try await finished.value
      #expect(none == nil)
    },
  ]

  private static func entry(_ id: String) -> AuditEntry {
    AuditEntry(
      id: id, time: UnixTime(microseconds: 1), actor: "ada", action: "test", entityType: "thing",
      entityID: "a", category: "change", outcome: .success)
  }
}
