import KeelsonAuditTrail

/// The tables of the store itself: the counters, the audit trail and the events.
package enum StoreMigrations {
  package static let set = MigrationSet(
    "store",
    [
      Migration(1, "counters, audit entries and events") { dialect in
        changeSequence(dialect) + auditEntries(dialect) + events(dialect)
      }
    ])

  private static func changeSequence(_ dialect: Dialect) -> [String] {
    let integer = dialect.integerType
    return [
      """
      CREATE TABLE change_sequence (
        id \(integer) PRIMARY KEY CHECK (id = 1),
        last_revision \(integer) NOT NULL,
        last_audit_sequence \(integer) NOT NULL,
        last_audit_hash \(dialect.blobType) NOT NULL,
        last_audit_time \(integer) NOT NULL,
        compacted_revision \(integer) NOT NULL CHECK (compacted_revision <= last_revision),
        archived_audit_sequence \(integer) NOT NULL
          CHECK (archived_audit_sequence <= last_audit_sequence),
        archived_audit_hash \(dialect.blobType) NOT NULL
      )\(dialect.tableSuffix)
      """,
      """
      INSERT INTO change_sequence (id, last_revision, last_audit_sequence, last_audit_hash,
        last_audit_time, compacted_revision, archived_audit_sequence, archived_audit_hash)
      VALUES (1, 0, 0, \(dialect.blob(AuditChain.origin)), 0, 0, 0,
        \(dialect.blob(AuditChain.origin)))
      """,
    ]
  }

  private static func auditEntries(_ dialect: Dialect) -> [String] {
    let integer = dialect.integerType
    return [
      """
      CREATE TABLE audit_entries (
        sequence \(integer) PRIMARY KEY,
        entry_id TEXT NOT NULL UNIQUE,
        time \(integer) NOT NULL,
        occur_time \(integer),
        revision \(integer) NOT NULL,
        recorder TEXT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        entity_type TEXT NOT NULL,
        entity_id TEXT NOT NULL,
        before_state TEXT,
        after_state TEXT,
        attributes TEXT,
        category TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
        correlation_id TEXT NOT NULL,
        peer TEXT NOT NULL,
        user_agent TEXT NOT NULL,
        subject_key_id TEXT NOT NULL,
        sealed \(dialect.blobType),
        previous_hash \(dialect.blobType) NOT NULL,
        hash \(dialect.blobType) NOT NULL
      )\(dialect.tableSuffix)
      """,
      """
      CREATE INDEX audit_entries_entity ON audit_entries (entity_type, entity_id, sequence)
      """,
    ]
      + appendOnly(
        dialect, table: "audit_entries",
        // One after the newest, which also stops INSERT OR REPLACE by number; by identifier it
        // would still take an old row away. Of what is archived some may be there, or none.
        exists: """
          NEW.sequence <> (SELECT CASE WHEN newest > archived THEN newest ELSE archived END
            FROM (SELECT coalesce((SELECT max(sequence) FROM audit_entries), 0) AS newest,
              archived_audit_sequence AS archived FROM change_sequence) AS ends) + 1
            OR EXISTS (SELECT 1 FROM audit_entries WHERE entry_id = NEW.entry_id)
          """,
        mayBeDeleted: "OLD.sequence <= (SELECT archived_audit_sequence FROM change_sequence)")
  }

  private static func events(_ dialect: Dialect) -> [String] {
    let integer = dialect.integerType
    return [
      """
      CREATE TABLE events (
        revision \(integer) PRIMARY KEY,
        time \(integer) NOT NULL,
        type TEXT NOT NULL,
        subject TEXT NOT NULL,
        data TEXT NOT NULL,
        payload \(dialect.blobType) NOT NULL,
        actor TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        traceparent TEXT NOT NULL
      )\(dialect.tableSuffix)
      """
    ]
      + appendOnly(
        dialect, table: "events",
        // One after the newest, so the database itself keeps the revisions without a gap.
        exists: """
          NEW.revision <> coalesce((SELECT max(revision) FROM events),
            (SELECT compacted_revision FROM change_sequence)) + 1
          """,
        mayBeDeleted: "OLD.revision <= (SELECT compacted_revision FROM change_sequence)")
  }

  /// Triggers that let rows be added and nothing else.
  ///
  /// - Parameters:
  ///   - exists: when a new row is none that may follow. Without it INSERT OR REPLACE would
  ///     delete the old row and no delete trigger would see it (SQLite, "REPLACE" in
  ///     lang_conflict.html).
  ///   - mayBeDeleted: which rows retention has let go of.
  private static func appendOnly(
    _ dialect: Dialect, table: String, exists: String, mayBeDeleted: String
  ) -> [String] {
    let rules = [
      ("INSERT", "insert", "is append-only: the new row does not follow the newest", exists),
      ("UPDATE", "update", "is append-only: rows do not change", "TRUE"),
      ("DELETE", "delete", "is append-only: rows are not deleted", "NOT (\(mayBeDeleted))"),
    ]
    switch dialect {
    case .sqlite:
      return rules.map { event, name, message, condition in
        """
        CREATE TRIGGER \(table)_\(name) BEFORE \(event) ON \(table) WHEN \(condition)
        BEGIN SELECT RAISE(ABORT, '\(table) \(message)'); END
        """
      }
    case .postgreSQL:
      let refusals = rules.flatMap { event, name, message, condition in
        [
          """
          CREATE FUNCTION \(table)_\(name)_refused() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN
            IF \(condition) THEN
              RAISE EXCEPTION '\(table) \(message)' USING ERRCODE = 'check_violation';
            END IF;
            RETURN \(event == "DELETE" ? "OLD" : "NEW");
          END $$
          """,
          """
          CREATE TRIGGER \(table)_\(name) BEFORE \(event) ON \(table)
          FOR EACH ROW EXECUTE FUNCTION \(table)_\(name)_refused()
          """,
        ]
      }
      return refusals + [
        """
        CREATE FUNCTION \(table)_truncate_refused() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION '\(table) is append-only: rows are not deleted'
            USING ERRCODE = 'check_violation';
        END $$
        """,
        """
        CREATE TRIGGER \(table)_truncate BEFORE TRUNCATE ON \(table)
        FOR EACH STATEMENT EXECUTE FUNCTION \(table)_truncate_refused()
        """,
      ]
    }
  }
}
