import KeelsonCore

/// The counters behind revisions and audit sequence numbers: one row, locked by whoever changes
/// it until its transaction ends.
enum ChangeSequence {
  /// Takes the next revision and the next audit sequence number.
  static func next(in transaction: any Transaction) async throws -> (
    revision: Int64, auditSequence: Int64
  ) {
    let row = try await only(
      transaction,
      """
      UPDATE change_sequence
      SET last_revision = last_revision + 1, last_audit_sequence = last_audit_sequence + 1
      RETURNING last_revision, last_audit_sequence
      """)
    return (try row.get(0), try row.get(1))
  }

  static func nextRevision(in transaction: any Transaction) async throws -> Int64 {
    try await only(
      transaction,
      "UPDATE change_sequence SET last_revision = last_revision + 1 RETURNING last_revision"
    ).get(0)
  }

  static func nextAuditSequence(in transaction: any Transaction) async throws -> Int64 {
    try await only(
      transaction,
      """
      UPDATE change_sequence SET last_audit_sequence = last_audit_sequence + 1
      RETURNING last_audit_sequence
      """
    ).get(0)
  }

  /// The newest revision, and the newest one that has been compacted away.
  static func bounds(in transaction: any Transaction) async throws -> (
    last: Int64, compacted: Int64
  ) {
    let row = try await only(
      transaction, "SELECT last_revision, compacted_revision FROM change_sequence")
    return (try row.get(0), try row.get(1))
  }

  private static func only(_ transaction: any Transaction, _ sql: String) async throws -> Row {
    guard let row = try await transaction.first(sql) else {
      throw StoreError(.corrupt, "The table change_sequence has lost its row.")
    }
    return row
  }
}

extension Transaction {
  /// The newest revision this transaction sees: a snapshot read here holds exactly the changes
  /// up to it.
  package func currentRevision() async throws -> Int64 {
    try await ChangeSequence.bounds(in: self).last
  }
}

/// The table of audit entries.
enum AuditEntries {
  static func insert(
    _ draft: AuditDraft, sequence: Int64, revision: Int64, time: UnixTime, origin: ChangeOrigin,
    in transaction: any Transaction
  ) async throws {
    try await transaction.execute(
      """
      INSERT INTO audit_entries (sequence, entry_id, time, revision, actor, action, entity_type,
        entity_id, before_state, after_state, category, outcome, correlation_id, peer, user_agent)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
      """,
      [
        .integer(sequence), .text(UUIDv7.make(at: time)), SQLValue(time), .integer(revision),
        .text(origin.actor), .text(draft.action), .text(draft.entityType), .text(draft.entityID),
        SQLValue(draft.before?.text), SQLValue(draft.after?.text), .text(draft.category),
        .text(draft.outcome.rawValue), .text(origin.correlationID), .text(origin.peer),
        .text(origin.userAgent),
      ])
  }
}

/// The table of events.
enum Events {
  static func insert(_ event: CommittedEvent, in transaction: any Transaction) async throws {
    try await transaction.execute(
      """
      INSERT INTO events (revision, time, type, subject, data, payload, actor, correlation_id)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      """,
      [
        .integer(event.revision), SQLValue(event.time), .text(event.type), .text(event.subject),
        .text(event.data.text), .blob(event.payload), .text(event.actor),
        .text(event.correlationID),
      ])
  }

  /// The events after a revision that match, in order.
  static func select(
    after revision: Int64, upTo last: Int64, filter: EventFilter, limit: Int,
    in transaction: any Transaction
  ) async throws -> [CommittedEvent] {
    try await transaction.query(
      """
      SELECT revision, time, type, subject, data, payload, actor, correlation_id FROM events
      WHERE revision > $1 AND revision <= $2 AND substr(type, 1, length($3)) = $3
      ORDER BY revision LIMIT $4
      """,
      [.integer(revision), .integer(last), .text(filter.typePrefix), SQLValue(limit)]
    ).map { row in
      CommittedEvent(
        revision: try row.get(0), time: try row.get(1), type: try row.get(2),
        subject: try row.get(3), data: JSONText(verbatim: try row.get(4)),
        payload: try row.get(5), actor: try row.get(6), correlationID: try row.get(7))
    }
  }
}
