import KeelsonAuditTrail

/// The tables of the store itself: the counters, the audit trail and the events.
package enum StoreMigrations {
  package static let set = MigrationSet(
    "store",
    [
      Migration(1, "counters, audit entries and events") { dialect in
        changeSequence(dialect) + auditEntries(dialect) + events(dialect)
          + guardOfChangeSequence(dialect)
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
      """
    ] + auditEntriesInsertion(dialect)
      + appendOnly(
        dialect, table: "audit_entries",
        mayBeDeleted: "OLD.sequence <= (SELECT archived_audit_sequence FROM change_sequence)")
  }

  /// New entries come one after the newest. Of what is archived some may be there, or none.
  private static func auditEntriesInsertion(_ dialect: Dialect) -> [String] {
    let message = "is append-only: the new row does not follow the newest"
    switch dialect {
    case .sqlite:
      // This also stops INSERT OR REPLACE by number; by identifier it would still take an old row
      // away.
      let refused = """
        NEW.sequence <> (SELECT CASE WHEN newest > archived THEN newest ELSE archived END
          FROM (SELECT coalesce((SELECT max(sequence) FROM audit_entries), 0) AS newest,
            archived_audit_sequence AS archived FROM change_sequence) AS ends) + 1
          OR EXISTS (SELECT 1 FROM audit_entries WHERE entry_id = NEW.entry_id)
        """
      return TableRule.triggers(
        dialect, table: "audit_entries", rules: [TableRule("INSERT", message, refused)])
    case .postgreSQL:
      // Once for a statement: for each of a hundred rows it took a third of their time. Nothing
      // here takes an old row away, and the keys refuse what is there.
      return TableRule.triggerFunction(
        "audit_entries_insert_refused",
        """
        DECLARE
          added BIGINT;
          first BIGINT;
          last BIGINT;
        BEGIN
          SELECT count(*), min(sequence), max(sequence) INTO added, first, last FROM new_entries;
          IF added > 0 AND (last - first + 1 <> added
            OR last <> (SELECT max(sequence) FROM audit_entries)
            OR first <> 1 + (SELECT greatest(archived_audit_sequence,
              (SELECT max(sequence) FROM audit_entries WHERE sequence < first))
              FROM change_sequence)) THEN
            RAISE EXCEPTION 'audit_entries \(message)' USING ERRCODE = 'check_violation';
          END IF;
          RETURN NULL;
        END
        """) + [
          """
          CREATE TRIGGER audit_entries_insert AFTER INSERT ON audit_entries
          REFERENCING NEW TABLE AS new_entries
          FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_insert_refused()
          """
        ]
    }
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
        mayFollow: """
          NEW.revision = coalesce((SELECT max(revision) FROM events),
            (SELECT compacted_revision FROM change_sequence)) + 1
          """,
        mayBeDeleted: "OLD.revision <= (SELECT compacted_revision FROM change_sequence)")
  }

  /// Triggers that let the one row move on and nothing else, and only to what is there: else the
  /// append-only tables could be opened by moving it.
  private static func guardOfChangeSequence(_ dialect: Dialect) -> [String] {
    let lastRevision = """
      coalesce((SELECT max(revision) FROM events), NEW.compacted_revision)
      """
    let goesBack = """
      NEW.id <> OLD.id OR NEW.last_revision < OLD.last_revision
        OR NEW.last_audit_sequence < OLD.last_audit_sequence
        OR NEW.compacted_revision < OLD.compacted_revision
        OR NEW.archived_audit_sequence < OLD.archived_audit_sequence
      """
    let leadsElsewhere = """
      (NEW.last_revision <> OLD.last_revision AND NEW.last_revision <> \(lastRevision))
        OR ((NEW.last_audit_sequence <> OLD.last_audit_sequence
            OR NEW.last_audit_hash <> OLD.last_audit_hash)
          AND NOT EXISTS (SELECT 1 FROM audit_entries WHERE sequence = NEW.last_audit_sequence
            AND hash = NEW.last_audit_hash))
        OR ((NEW.archived_audit_sequence <> OLD.archived_audit_sequence
            OR NEW.archived_audit_hash <> OLD.archived_audit_hash)
          AND NOT EXISTS (SELECT 1 FROM audit_entries WHERE sequence = NEW.archived_audit_sequence
            AND hash = NEW.archived_audit_hash))
      """
    return TableRule.triggers(
      dialect, table: "change_sequence",
      rules: [
        TableRule("INSERT", "has one row", "TRUE"),
        TableRule(
          "UPDATE", "only moves on, over what is there", "\(goesBack) OR \(leadsElsewhere)"),
        TableRule("DELETE", "keeps its row", "TRUE"),
      ])
  }

  /// Triggers that let rows be added and nothing else.
  ///
  /// - Parameters:
  ///   - mayFollow: which new row may follow; nil: another trigger says. Without it INSERT OR
  ///     REPLACE would delete the old row and no delete trigger would see it (SQLite, "REPLACE" in
  ///     lang_conflict.html).
  ///   - mayBeDeleted: which rows retention has let go of.
  private static func appendOnly(
    _ dialect: Dialect, table: String, mayFollow: String? = nil, mayBeDeleted: String
  ) -> [String] {
    let insertion = mayFollow.map {
      TableRule(
        "INSERT", "is append-only: the new row does not follow the newest", "NOT (\($0))")
    }
    return TableRule.triggers(
      dialect, table: table,
      rules: (insertion.map { [$0] } ?? []) + [
        TableRule("UPDATE", "is append-only: rows do not change", "TRUE"),
        TableRule("DELETE", "is append-only: rows are not deleted", "NOT (\(mayBeDeleted))"),
      ])
  }
}
