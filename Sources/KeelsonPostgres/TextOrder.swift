import KeelsonStore

/// Texts compare by their bytes, as in SQLite: lists are cut into pages by key, and the order of
/// a language would differ between servers, and change with their libraries.
enum TextOrder {
  /// A column of texts that compare in the database's own order.
  struct Column: Hashable {
    /// Both quoted where they have to be.
    let table: String
    let name: String
  }

  /// Those of the schema that tables are made in.
  static func languageColumns(in transaction: any Transaction) async throws -> Set<Column> {
    let rows = try await transaction.query(
      """
      SELECT format('%I', c.relname), format('%I', a.attname)
      FROM pg_attribute AS a
      JOIN pg_class AS c ON c.oid = a.attrelid
      JOIN pg_collation AS o ON o.oid = a.attcollation
      WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
        AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        AND a.atttypid = CAST('text' AS regtype) AND o.collname = 'default'
      """)
    return Set(try rows.map { Column(table: try $0.get(0), name: try $0.get(1)) })
  }

  /// Gives the columns that have come since the order of bytes. Tables that have just been made
  /// are empty, so it costs nothing; other programs' tables stay as they are.
  ///
  /// - Parameter older: those that were there before.
  static func compareByBytes(
    allBut older: Set<Column>, in transaction: any Transaction
  ) async throws {
    let columns = try await languageColumns(in: transaction).subtracting(older)
    var changes: [String: [String]] = [:]
    for column in columns {
      changes[column.table, default: []].append(
        "ALTER COLUMN \(column.name) TYPE text COLLATE \"C\"")
    }
    for (table, actions) in changes.sorted(by: { $0.key < $1.key }) {
      try await transaction.execute("ALTER TABLE \(table) \(actions.joined(separator: ", "))")
    }
  }
}
