package import KeelsonStore

/// The tables of the audit service, and the indexes that its queries of entries go by. The entries
/// themselves belong to the store, since every change writes one.
package enum AuditMigrations {
  package static let all = MigrationSet(
    "audit",
    [
      Migration(1, "queries, checkpoints, archives, retention and subjects") { dialect in
        entryIndexes(dialect) + checkpoints(dialect) + archives(dialect) + policy(dialect)
          + subjects(dialect)
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
        name TEXT NOT NULL UNIQUE,
        signed_text TEXT NOT NULL,
        signature \(dialect.blobType) NOT NULL
      )\(dialect.tableSuffix)
      """
    ]
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
