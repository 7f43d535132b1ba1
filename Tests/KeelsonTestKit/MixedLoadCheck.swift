import KeelsonAuditTrail
package import KeelsonStore
import Testing

/// Compares what `StoreCrashWriter mixed` was told with what is in the database: nothing
/// acknowledged is missing, and state, events and audit trail say the same.
package struct MixedLoadCheck {
  private var counters: [Int64: (key: String, value: Int64)] = [:]
  private var entries: Set<String> = []
  private var notes: Set<String> = []

  package init() {}

  package var acknowledged: Int { counters.count + entries.count + notes.count }

  /// Takes in what the writer printed.
  package mutating func take(_ lines: [String]) {
    for line in lines {
      let words = line.split(separator: " ")
      switch words.first {
      case "counter":
        guard words.count == 4, let value = Int64(words[2]), let revision = Int64(words[3]) else {
          Issue.record("a torn line: \(line)")
          continue
        }
        #expect(counters[revision] == nil, "revision \(revision) was given twice")
        counters[revision] = (String(words[1]), value)
      case "entry": entries.insert(String(words[1]))
      case "note": notes.insert(String(words[1]))
      default: Issue.record("the writer said: \(line)")
      }
    }
  }

  package func check(_ database: any Database) async throws {
    let (events, trail, head, state, notes) = try await database.read { transaction in
      (
        try await transaction.query("SELECT \(Events.columns) FROM events ORDER BY revision")
          .map(Events.event),
        try await transaction.query(
          "SELECT \(AuditEntries.columns) FROM audit_entries ORDER BY sequence"
        ).map(AuditEntries.entry),
        try await ChangeHead.current(in: transaction),
        try await transaction.query("SELECT key, value, revision FROM counters ORDER BY key")
          .map(\.values),
        Set(
          try await transaction.query("SELECT id FROM notes").map { try $0.get(0, as: String.self) }
        )
      )
    }
    // Events: numbered without a gap, each counter goes up by one.
    #expect(events.map(\.revision) == Array(1..<Int64(events.count) + 1))
    #expect(head.revision == Int64(events.count))
    var folded: [String: (value: Int64, revision: Int64)] = [:]
    for event in events {
      let value = (folded[event.subject]?.value ?? 0) + 1
      #expect(event.data.text == "\(value)", "the event at \(event.revision)")
      folded[event.subject] = (value, event.revision)
    }
    // State: what the events come to.
    let expected = folded.sorted { $0.key < $1.key }.map { key, counted -> [SQLValue] in
      [.text(key), .integer(counted.value), .integer(counted.revision)]
    }
    #expect(state == expected)
    // Audit trail: one chain that ends at the head, one entry for each event.
    var chain = AuditChain()
    for entry in trail { try chain.verify(entry) }
    #expect(chain == head.audit)
    let counted = trail.filter { $0.action == "count" }
    #expect(counted.map(\.entityID) == events.map(\.subject))
    #expect(counted.map(\.after) == events.map(\.data.text))
    #expect(zip(counted, events).allSatisfy { $0.revision <= $1.revision })
    // Nothing acknowledged is missing.
    for (revision, counter) in counters {
      let event = revision <= events.count ? events[Int(revision) - 1] : nil
      #expect(event?.subject == counter.key, "lost revision \(revision)")
      #expect(event?.data.text == "\(counter.value)", "lost revision \(revision)")
    }
    #expect(entries.subtracting(trail.map(\.id)).isEmpty, "lost audit entries")
    #expect(self.notes.subtracting(notes).isEmpty, "lost notes")
    #expect(Set(trail.map(\.id)).count == trail.count)
  }
}
