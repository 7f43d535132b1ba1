package import KeelsonStore

/// The tables of the audit service, and the indexes that its queries of entries go by. The entries
/// themselves belong to the store, since every change writes one.
package enum AuditMigrations {
  package static let all = MigrationSet(
    "audit",
    [
      Migration(1, "queries, checkpoints, archives, retention and subjects") { dialect in
        entryIndexes(dialect) + checkpoints(dialect) + archives(dialect) + policy(dialect)
          + subjects(dialect) + appendOnly(dialect) + SubjectRules.triggers(dialect)
      }
    ])

  /// One for each filter, each with the sequence number, so that a page of the newest is read from
  /// the index's end without sorting.
  private static func entryIndexes(_ dialect: Dialect) -> [String] {
    let columns = [
      ("actor", "actor"), ("action", "action"), ("entity_type", "entity_type"),
      ("entity_id", "entity_id"), ("outcome", "outcome"), ("category", "category"),
      ("correlation", "correlation_id"), ("time", "time"),
    ]
    return columns.map { name, column in
      "CREATE INDEX audit_entries_by_\(name) ON audit_entries (\(column), sequence)"
    } + [
      """
      CREATE INDEX audit_entries_by_subject ON audit_entries (subject_key_id, sequence)
      WHERE subject_key_id <> ''
      """
    ]
  }

  private static func checkpoints(_ dialect: Dialect) -> [String] {
    let integer = dialect.integerType
    let blob = dialect.blobType
    return [
      """
      CREATE TABLE audit_signing_keys (
        key_id TEXT NOT NULL PRIMARY KEY,
        public_key TEXT NOT NULL,
        create_time \(integer) NOT NULL
      )\(dialect.tableSuffix)
      """,
      """
      CREATE TABLE audit_checkpoints (
        number \(integer) NOT NULL PRIMARY KEY,
        sequence \(integer) NOT NULL,
        hash \(blob) NOT NULL,
        entry_count \(integer) NOT NULL,
        time \(integer) NOT NULL,
        previous \(blob) NOT NULL,
        key_id TEXT NOT NULL REFERENCES audit_signing_keys (key_id),
        signature \(blob) NOT NULL
      )\(dialect.tableSuffix)
      """,
      "CREATE INDEX audit_checkpoints_by_sequence ON audit_checkpoints (sequence)",
    ]
  }

  private static func archives(_ dialect: Dialect) -> [String] {
    let integer = dialect.integerType
    return [
      """
      CREATE TABLE audit_archives (
        last_sequence \(integer) NOT NULL PRIMARY KEY,
        first_sequence \(integer) NOT NULL,
        last_hash \(dialect.blobType) NOT NULL,
        name TEXT NOT NULL UNIQUE,
        signed_text TEXT NOT NULL,
        signature \(dialect.blobType) NOT NULL
      )\(dialect.tableSuffix)
      """
    ]
  }

  /// What proves something stays as it is, and the archived position moves over archives alone: else
  /// entries could be deleted that no archive has.
  private static func appendOnly(_ dialect: Dialect) -> [String] {
    func kept(_ table: String, _ refused: String) -> [String] {
      TableRule.triggers(
        dialect, table: table,
        rules: [
          TableRule("INSERT", "is append-only: the new row does not follow the newest", refused),
          TableRule("UPDATE", "is append-only: rows do not change", "TRUE"),
          TableRule("DELETE", "is append-only: rows are not deleted", "TRUE"),
        ])
    }
    // Each also stops INSERT OR REPLACE, which would take an old row away unseen.
    return kept(
      "audit_signing_keys",
      "EXISTS (SELECT 1 FROM audit_signing_keys WHERE key_id = NEW.key_id)")
      + kept(
        "audit_checkpoints",
        "NEW.number <> coalesce((SELECT max(number) FROM audit_checkpoints), 0) + 1")
      + kept(
        "audit_archives",
        """
        NEW.first_sequence <> coalesce((SELECT max(last_sequence) FROM audit_archives), 0) + 1
          OR NEW.last_sequence < NEW.first_sequence
          OR EXISTS (SELECT 1 FROM audit_archives WHERE name = NEW.name)
        """)
      + TableRule.triggers(
        dialect, table: "change_sequence", name: "change_sequence_archived",
        rules: [
          TableRule(
            "UPDATE", "moves its archived position over archives alone",
            """
            (NEW.archived_audit_sequence <> OLD.archived_audit_sequence
                OR NEW.archived_audit_hash <> OLD.archived_audit_hash)
              AND NOT EXISTS (SELECT 1 FROM audit_archives
                WHERE first_sequence = OLD.archived_audit_sequence + 1
                  AND last_sequence = NEW.archived_audit_sequence
                  AND last_hash = NEW.archived_audit_hash)
            """)
        ])
  }

  private static func policy(_ dialect: Dialect) -> [String] {
    [
      """
      CREATE TABLE audit_retention_policy (
        id \(dialect.integerType) NOT NULL PRIMARY KEY CHECK (id = 1),
        body \(dialect.blobType) NOT NULL
      )\(dialect.tableSuffix)
      """
    ]
  }

  /// Erasing a subject clears its name and its key; the row stays, so that entries can say so.
  private static func subjects(_ dialect: Dialect) -> [String] {
    let integer = dialect.integerType
    return [
      """
      CREATE TABLE audit_subjects (
        key_id TEXT NOT NULL PRIMARY KEY,
        subject TEXT UNIQUE,
        wrapping_key_id TEXT,
        wrapped_key \(dialect.blobType),
        create_time \(integer) NOT NULL,
        erase_time \(integer)
      )\(dialect.tableSuffix)
      """
    ]
  }
}
