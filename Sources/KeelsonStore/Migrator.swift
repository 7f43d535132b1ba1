import KeelsonCore

/// Brings a schema up to date inside a transaction that the engine holds under its write lock.
package enum Migrator {
  /// Runs what has not run yet.
  ///
  /// - Throws: ``StoreError`` with code tooNew, schemaMismatch or misuse; what a statement throws.
  package static func run(_ sets: [MigrationSet], in transaction: any Transaction, dialect: Dialect)
    async throws
  {
    try check(sets)
    try await createTable(in: transaction, dialect: dialect)
    var applied: [String: [AppliedMigration]] = [:]
    for row in try await transaction.query(
      "SELECT set_name, number, name, checksum FROM schema_migrations ORDER BY set_name, number")
    {
      applied[try row.get(0), default: []].append(
        AppliedMigration(number: try row.get(1), name: try row.get(2), checksum: try row.get(3)))
    }
    for set in sets {
      try await run(set, applied: applied[set.name] ?? [], in: transaction, dialect: dialect)
      applied[set.name] = nil
    }
    // What is left belongs to rooms that a later version added.
    if let name = applied.keys.min() {
      throw StoreError(
        .tooNew,
        """
        The database has tables of \(name), which this version does not know. It was used by a \
        newer version; use that one, or restore a backup made before the upgrade.
        """)
    }
  }

  /// Makes the table of migrations where it is missing. PostgreSQL asks for the right to make
  /// tables even when it is there, which a role that only serves does not have.
  private static func createTable(in transaction: any Transaction, dialect: Dialect) async throws {
    if dialect == .postgreSQL,
      try await transaction.first(
        "SELECT 1 WHERE to_regclass('schema_migrations') IS NOT NULL") != nil
    {
      return
    }
    try await transaction.execute(
      """
      CREATE TABLE IF NOT EXISTS schema_migrations (
        set_name TEXT NOT NULL,
        number \(dialect.integerType) NOT NULL,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL,
        applied_at \(dialect.integerType) NOT NULL,
        PRIMARY KEY (set_name, number)
      )\(dialect.tableSuffix)
      """)
  }

  private struct AppliedMigration {
    let number: Int
    let name: String
    let checksum: String
  }

  private static func run(
    _ set: MigrationSet, applied: [AppliedMigration], in transaction: any Transaction,
    dialect: Dialect
  ) async throws {
    if let newest = applied.last, newest.number > set.migrations.count {
      throw StoreError(
        .tooNew,
        """
        The database is newer than this version: the schema of \(set.name) is at \
        \(newest.number) (\(newest.name)), this version knows \(set.migrations.count). Use the \
        newer version, or restore a backup made before the upgrade.
        """)
    }
    for migration in set.migrations {
      let statements = migration.statements(dialect)
      let checksum = checksum(of: statements)
      if migration.number <= applied.count {
        let old = applied[migration.number - 1]
        guard old.number == migration.number, old.checksum == checksum else {
          throw StoreError(
            .schemaMismatch,
            """
            Migration \(migration.number) of \(set.name) (\(migration.name)) is not the one this \
            database was made with (\(old.name)). Use the version that made the database.
            """)
        }
        continue
      }
      for statement in statements {
        do {
          try await transaction.execute(statement)
        } catch let error as StoreError {
          throw StoreError(
            error.code,
            "Migration \(migration.number) of \(set.name) (\(migration.name)) failed.",
            cause: error)
        }
      }
      try await transaction.execute(
        """
        INSERT INTO schema_migrations (set_name, number, name, checksum, applied_at)
        VALUES ($1, $2, $3, $4, $5)
        """,
        [
          .text(set.name), SQLValue(migration.number), .text(migration.name), .text(checksum),
          SQLValue(UnixTime.now),
        ])
    }
  }

  private static func check(_ sets: [MigrationSet]) throws {
    for set in sets {
      guard set.migrations.map(\.number) == Array(1..<set.migrations.count + 1) else {
        throw StoreError(
          .misuse, "The migrations of \(set.name) are not numbered 1, 2, 3, ... in order.")
      }
    }
    guard Set(sets.map(\.name)).count == sets.count else {
      throw StoreError(.misuse, "Two migration sets have the same name.")
    }
  }

  /// FNV-1a, 64 bits, over the statements: it finds edits, it does not guard against attackers.
  static func checksum(of statements: [String]) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for statement in statements {
      for byte in statement.utf8 {
        hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
      }
      // A byte that no text has keeps the statements apart.
      hash = (hash ^ 0xFF) &* 0x100_0000_01b3
    }
    return String(hash, radix: 16)
  }
}
