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

  /// Tells whether the server takes no changes, when its process began, and its number.
  static let place = SQLStatement(
    """
    SELECT pg_is_in_recovery(), CAST(backend_start AS TEXT), pid FROM pg_stat_activity
    WHERE pid = pg_backend_pid()
    """)

  /// - Parameter result: that of ``place``.
  /// - Throws: ``StoreError`` with code unreachable for a standby: old states are not served.
  static func checkIsPrimary(_ result: StatementResult?, _ settings: ConnectionSettings) throws {
    guard let row = result?.rows.first, try row.get(0, as: Bool.self) else { return }
    throw StoreError.unreachable(
      """
      The server of \(settings.description) is a standby, which takes no changes. Name the \
      primary, or several hosts: the one that takes changes is found.
      """)
  }

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

  /// Ends the statements of the running transaction after a time.
  static func statementTimeout(_ duration: Duration) -> SQLStatement {
    SQLStatement(
      "SELECT set_config('statement_timeout', $1, true)", [.text(milliseconds(duration))])
  }

  private static func milliseconds(_ duration: Duration) -> String {
    "\(Int((duration / .milliseconds(1)).rounded(.up)))"
  }
}
