package import KeelsonAuditTrail
package import KeelsonCore

/// Where the changes stand: the one row that every change reads, locks and moves on.
package struct ChangeHead: Sendable, Hashable {
  /// The revision of the newest event; 0 before the first.
  package var revision: Int64
  /// The end of the audit trail.
  package var audit: AuditChain
  /// The time of the newest audit entry. The next one's is never before it, whatever the clocks of
  /// several nodes say, so a range of times is a range of entries.
  package var auditTime: UnixTime

  /// The time for what comes next.
  package var nextTime: UnixTime { max(.now, auditTime) }

  /// The number of the newest audit entry.
  package var auditSequence: Int64 { audit.sequence }

  /// Whether it can be what an earlier head has become: not when it lies behind, nor when the trail
  /// ends with another entry at the same place. A database that was restored shows so.
  package func follows(_ earlier: ChangeHead) -> Bool {
    revision >= earlier.revision && audit.sequence >= earlier.audit.sequence
      && (audit.sequence > earlier.audit.sequence || audit.hash == earlier.audit.hash)
  }

  /// The head, locked until the transaction ends, so that changes happen one after the other, on
  /// all nodes together.
  package static func locked(
    in transaction: any Transaction, dialect: Dialect
  ) async throws -> ChangeHead {
    try await transaction.lockedHead(dialect)
  }

  /// The head as the transaction sees it.
  package static func current(in transaction: any Transaction) async throws -> ChangeHead {
    try await read(in: transaction, lock: "")
  }

  package static func read(
    in transaction: any Transaction, lock: String
  ) async throws -> ChangeHead {
    try head(
      await ChangeSequence.only(transaction, "SELECT \(columns) FROM change_sequence\(lock)"))
  }

  /// The columns in the order in which ``head(_:)`` reads them.
  package static let columns =
    "last_revision, last_audit_sequence, last_audit_hash, last_audit_time"

  /// The head that a row holds which begins with ``columns``.
  package static func head(_ row: Row) throws -> ChangeHead {
    ChangeHead(
      revision: try row.get(0), audit: AuditChain(sequence: try row.get(1), hash: try row.get(2)),
      auditTime: try row.get(3))
  }

  /// The statement that moves the head; it changes one row, or none when the head is elsewhere.
  func update(from old: ChangeHead) -> SQLStatement {
    SQLStatement(
      """
      UPDATE change_sequence
      SET last_revision = $1, last_audit_sequence = $2, last_audit_hash = $3, last_audit_time = $4
      WHERE last_revision = $5 AND last_audit_sequence = $6
      """,
      [
        .integer(revision), .integer(audit.sequence), .blob(audit.hash), SQLValue(auditTime),
        .integer(old.revision), .integer(old.audit.sequence),
      ])
  }
}

/// What of the one row has nothing to do with appending.
enum ChangeSequence {
  /// The newest revision, and the newest one that has been compacted away.
  static func bounds(in transaction: any Transaction) async throws -> (
    last: Int64, compacted: Int64
  ) {
    let row = try await only(
      transaction, "SELECT last_revision, compacted_revision FROM change_sequence")
    return (try row.get(0), try row.get(1))
  }

  static func only(_ transaction: any Transaction, _ sql: String) async throws -> Row {
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
