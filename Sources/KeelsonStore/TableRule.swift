/// When an event on a row of a table is refused, and what is said then. The database itself refuses,
/// whoever asks.
package struct TableRule: Sendable {
  /// `INSERT`, `UPDATE` or `DELETE`.
  private let event: String
  private let message: String
  /// SQL about `NEW` and `OLD`.
  private let condition: String

  /// - Parameters:
  ///   - message: what the table does instead, after its name.
  ///   - condition: when the event is refused, in the SQL of both dialects.
  package init(_ event: String, _ message: String, _ condition: String) {
    self.event = event
    self.message = message
    self.condition = condition
  }

  /// Triggers that refuse.
  ///
  /// - Parameter name: what the triggers' names begin with; the table's name unless given.
  package static func triggers(
    _ dialect: Dialect, table: String, name: String? = nil, rules: [TableRule]
  ) -> [String] {
    let prefix = name ?? table
    switch dialect {
    case .sqlite:
      return rules.map { rule in
        """
        CREATE TRIGGER \(prefix)_\(rule.event.lowercased()) BEFORE \(rule.event) ON \(table)
        WHEN \(rule.condition)
        BEGIN SELECT RAISE(ABORT, '\(table) \(rule.message)'); END
        """
      }
    case .postgreSQL:
      let refusals = rules.flatMap { rule in
        let name = "\(prefix)_\(rule.event.lowercased())"
        return triggerFunction(
          "\(name)_refused",
          """
          BEGIN
            IF \(rule.condition) THEN
              RAISE EXCEPTION '\(table) \(rule.message)' USING ERRCODE = 'check_violation';
            END IF;
            RETURN \(rule.event == "DELETE" ? "OLD" : "NEW");
          END
          """) + [
            """
            CREATE TRIGGER \(name) BEFORE \(rule.event) ON \(table)
            FOR EACH ROW EXECUTE FUNCTION \(name)_refused()
            """
          ]
      }
      return refusals
        + triggerFunction(
          "\(prefix)_truncate_refused",
          """
          BEGIN
            RAISE EXCEPTION '\(table) is not emptied' USING ERRCODE = 'check_violation';
          END
          """) + [
          """
          CREATE TRIGGER \(prefix)_truncate BEFORE TRUNCATE ON \(table)
          FOR EACH STATEMENT EXECUTE FUNCTION \(prefix)_truncate_refused()
          """
        ]
    }
  }

  /// A function for triggers of PostgreSQL that looks into the schema it is made in, and only then
  /// into temporary tables: whoever may make those could otherwise put one in the place of a table
  /// that the function asks. Source: PostgreSQL, CREATE FUNCTION, "Writing SECURITY DEFINER
  /// Functions Safely".
  ///
  /// - Parameter body: in PL/pgSQL, without dollar quotes.
  package static func triggerFunction(_ name: String, _ body: String) -> [String] {
    [
      "CREATE FUNCTION \(name)() RETURNS trigger LANGUAGE plpgsql AS $$\n\(body)\n$$",
      """
      DO $$
      BEGIN
        EXECUTE format('ALTER FUNCTION \(name)() SET search_path = pg_catalog, %I, pg_temp',
          current_schema());
      END $$
      """,
    ]
  }
}
