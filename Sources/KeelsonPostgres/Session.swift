import KeelsonStore

/// What each connection is told once, before it is used.
enum Session {
  /// A connection that only reads.
  static func reader(_ limits: PostgresConfiguration.Limits) -> SQLStatement {
    command(
      limits,
      [
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "repeatable read"),
      ])
  }

  /// A connection that writes, or listens.
  static func writer(_ limits: PostgresConfiguration.Limits) -> SQLStatement {
    command(
      limits,
      [
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "read committed"),
      ],
      // What was acknowledged survives a crash, whatever the server's default is; a stricter one
      // stays.
      """
      , set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)
      """)
  }

  /// Tells when the server's process began, and its number.
  static let backendStart = SQLStatement(
    "SELECT CAST(backend_start AS TEXT), pid FROM pg_stat_activity WHERE pid = pg_backend_pid()")

  private static func command(
    _ limits: PostgresConfiguration.Limits, _ own: [(String, String)], _ more: String = ""
  ) -> SQLStatement {
    let settings =
      own + [
        ("statement_timeout", milliseconds(limits.statementTimeout)),
        ("idle_in_transaction_session_timeout", milliseconds(limits.idleTransactionTimeout)),
        ("TimeZone", "UTC"),
      ]
    let calls = settings.map { "set_config('\($0)', '\($1)', false)" }
    return SQLStatement("SELECT \(calls.joined(separator: ", "))\(more)")
  }

  private static func milliseconds(_ duration: Duration) -> String {
    "\(Int(duration / .milliseconds(1)))"
  }
}
