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
  /// How far the database's clock is ahead of this process's, so that all nodes go by one.
  package var clockLead: Duration = .zero

  /// The time now, by the database's clock.
  package var time: UnixTime { .now + clockLead }

  /// The time for what comes next.
  package var nextTime: UnixTime { max(time, auditTime) }

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

  /// The head as the transaction sees it, with the database's clock.
  package static func current(
    in transaction: any Transaction, _ dialect: Dialect
  ) async throws -> ChangeHead {
    let row = try await ChangeSequence.only(
      transaction, "SELECT \(columns), \(clock(dialect)) FROM change_sequence")
    return try head(row, clock: 4)
  }

  package static func read(
    in transaction: any Transaction, lock: String
  ) async throws -> ChangeHead {
    try head(
      await ChangeSequence.only(transaction, "SELECT \(columns) FROM change_sequence\(lock)"))
  }

  /// The database's clock, microseconds; NULL where it is this machine's.
  package static func clock(_ dialect: Dialect) -> String {
    switch dialect {
    case .sqlite: "NULL"
    case .postgreSQL: "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
    }
  }

  /// The columns in the order in which ``head(_:)`` reads them.
  package static let columns =
    "last_revision, last_audit_sequence, last_audit_hash, last_audit_time"

  /// The head that a row holds which begins with ``columns``.
  ///
  /// - Parameter clock: the column that has the database's ``clock(_:)``, just read.
  package static func head(_ row: Row, clock: Int? = nil) throws -> ChangeHead {
    var head = ChangeHead(
      revision: try row.get(0), audit: AuditChain(sequence: try row.get(1), hash: try row.get(2)),
      auditTime: try row.get(3))
    if let clock, let time = try row.get(clock, as: UnixTime?.self) {
      head.clockLead = .microseconds(time.microseconds - UnixTime.now.microseconds)
    }
    return head
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
