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
      _ = try await database.appendAudit([whole, entry("bare")])
      let read = try await database.read {
        try await AuditEntries.select(after: 0, limit: 9, in: $0)
      }
      var chain = AuditChain()
      #expect(read == [chain.append(whole), chain.append(entry("bare"))])
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
