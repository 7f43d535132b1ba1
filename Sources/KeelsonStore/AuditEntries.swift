package import KeelsonAuditTrail
import KeelsonCore

/// The table of audit entries.
package enum AuditEntries {
  /// The columns in the order in which ``entry(_:)`` reads them.
  package static let columns = """
    sequence, entry_id, time, occur_time, revision, recorder, actor, action, entity_type, \
    entity_id, before_state, after_state, attributes, category, outcome, correlation_id, peer, \
    user_agent, subject_key_id, sealed, previous_hash, hash
    """

  /// The entry that a row with ``columns`` holds.
  ///
  /// - Throws: ``StoreError`` with code corrupt when it cannot be one.
  package static func entry(_ row: Row) throws -> AuditEntry {
    guard let outcome = AuditEntry.Outcome(rawValue: try row.get(14)) else {
      throw StoreError(
        .corrupt, "The audit entry \(try row.get(0, as: Int64.self)) has no outcome.")
    }
    var entry = AuditEntry(
      id: try row.get(1), time: try row.get(2), occurTime: try row.get(3),
      revision: try row.get(4), recorder: try row.get(5), actor: try row.get(6),
      action: try row.get(7), entityType: try row.get(8), entityID: try row.get(9),
      before: try row.get(10), after: try row.get(11), attributes: try row.get(12),
      category: try row.get(13), outcome: outcome, correlationID: try row.get(15),
      peer: try row.get(16), userAgent: try row.get(17), subjectKeyID: try row.get(18),
      sealed: try row.get(19))
    entry.sequence = try row.get(0)
    entry.previousHash = try row.get(20)
    entry.hash = try row.get(21)
    return entry
  }

  private static let insertion = RowInsertion(into: "audit_entries", columns: columns)

  /// The statements that insert entries, as few as it takes.
  static func insertions(of entries: [AuditEntry]) -> [SQLStatement] {
    insertion.statements(entries, values: values)
  }

  private static func values(_ entry: AuditEntry) -> [SQLValue] {
    [
      .integer(entry.sequence), .text(entry.id), SQLValue(entry.time), SQLValue(entry.occurTime),
      .integer(entry.revision), .text(entry.recorder), .text(entry.actor), .text(entry.action),
      .text(entry.entityType), .text(entry.entityID), SQLValue(entry.before),
      SQLValue(entry.after), SQLValue(entry.attributes), .text(entry.category),
      .text(entry.outcome.rawValue), .text(entry.correlationID), .text(entry.peer),
      .text(entry.userAgent), .text(entry.subjectKeyID), SQLValue(entry.sealed),
      .blob(entry.previousHash), .blob(entry.hash),
    ]
  }

  /// Those entries of these identifiers that are there.
  package static func entries(
    of ids: [String], in transaction: any Transaction
  ) async throws -> [String: AuditEntry] {
    var known: [String: AuditEntry] = [:]
    var rest = ids[...]
    for size in [1_000] + RowInsertion.sizes {
      let places = (1...size).map { "$\($0)" }.joined(separator: ", ")
      while rest.count >= size {
        let rows = try await transaction.query(
          "SELECT \(columns) FROM audit_entries WHERE entry_id IN (\(places))",
          rest.prefix(size).map { .text($0) })
        for entry in try rows.map(entry) { known[entry.id] = entry }
        rest = rest.dropFirst(size)
      }
    }
    return known
  }

  /// The entries after a sequence number, in order.
  package static func select(
    after sequence: Int64, limit: Int, in transaction: any Transaction
  ) async throws -> [AuditEntry] {
    try await transaction.query(
      "SELECT \(columns) FROM audit_entries WHERE sequence > $1 ORDER BY sequence LIMIT $2",
      [.integer(sequence), SQLValue(limit)]
    ).map(entry)
  }
}
