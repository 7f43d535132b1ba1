package import KeelsonAuditTrail

/// Entries and events that have their numbers, and the head before and after them.
package struct ChangeRecord: Sendable, Hashable {
  package private(set) var entries: [AuditEntry]
  package private(set) var events: [CommittedEvent]
  /// Where the changes stood before.
  package let from: ChangeHead
  /// Where they stand with these.
  package private(set) var to: ChangeHead

  package init(
    entries: [AuditEntry], events: [CommittedEvent] = [], from: ChangeHead, to: ChangeHead
  ) {
    self.entries = entries
    self.events = events
    self.from = from
    self.to = to
  }

  /// This and what was recorded after it.
  package mutating func append(_ later: ChangeRecord) {
    entries += later.entries
    events += later.events
    to = later.to
  }

  /// What the observers are told once it is durable.
  package var committed: Committed {
    Committed(events: events, auditSequence: to.audit.sequence)
  }

  /// The statements that insert entries and events, as few as it takes.
  package func insertions(_ dialect: Dialect) -> [SQLStatement] {
    AuditEntries.insertions(of: entries, dialect) + Events.insertions(of: events)
  }

  /// Whether a text holds a NUL character, which PostgreSQL does not store.
  package var hasNUL: Bool {
    entries.contains(where: AuditEntries.hasNUL)
      || events.contains { event in
        [
          event.type, event.subject, event.data.text, event.actor, event.correlationID,
          event.traceparent,
        ].contains { $0.utf8.contains(0) }
      }
  }

  /// The statement that moves the head; it changes one row, or none when the head is elsewhere.
  package var headUpdate: SQLStatement { to.update(from: from) }
}

extension Transaction {
  package func lockedHead(_ dialect: Dialect) async throws -> ChangeHead {
    try await ChangeHead.read(in: self, lock: dialect.lockRows)
  }

  package func record(_ record: ChangeRecord) async throws {
    // In the form that every dialect has; PostgreSQL's engine has its own way to record.
    let counts = try await executeAll(record.insertions(.sqlite) + [record.headUpdate])
    // An engine that did not hold the lock would show here, before anything forks.
    guard counts.last == 1 else {
      throw StoreError(.misuse, "Another change moved the head of changes meanwhile.")
    }
    publish(record.committed)
  }
}
