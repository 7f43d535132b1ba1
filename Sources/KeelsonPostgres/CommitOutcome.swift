import KeelsonStore
import KeelsonTransport

/// Finds out what became of a commit whose answer was lost with its connection.
enum CommitOutcome {
  case committed
  case rolledBack

  /// Asks until the transaction has ended. What still runs it on the server is ended first, so
  /// that it does not last. On the loop.
  ///
  /// - Parameters:
  ///   - transactionID: what `pg_current_xact_id` said.
  ///   - backendID: the server's process that ran it.
  /// - Throws: ``StoreError`` with code outcomeUnknown when it cannot be found out in time.
  static func find(
    of transactionID: Int64, runBy backendID: Int32, through kept: KeptConnection,
    timeout: Duration, on loop: Loop
  ) async throws -> CommitOutcome {
    let end = ContinuousClock.now.advanced(by: timeout)
    var reason = "the database could not be reached"
    repeat {
      do {
        let connection = try await kept.connection()
        try await connection.run([
          SQLStatement(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid = $1 AND backend_xid = CAST(CAST(CAST($2 AS TEXT) AS xid8) AS xid)
            """, [.integer(Int64(backendID)), .text("\(transactionID)")])
        ])
        let answer = try await connection.run([
          SQLStatement(
            "SELECT pg_xact_status(CAST(CAST($1 AS TEXT) AS xid8))", [.text("\(transactionID)")])
        ])
        switch try answer.last?.rows.first?.get(0, as: String?.self) ?? "forgotten" {
        case "committed": return .committed
        case "aborted": return .rolledBack
        case "in progress": reason = "the transaction still runs"
        default: throw StoreError(.outcomeUnknown, "The server has forgotten the transaction.")
        }
      } catch let error as StoreError where error.code != .outcomeUnknown {
        reason = error.message
      }
      await pause(.milliseconds(50), on: loop)
    } while ContinuousClock.now < end
    throw StoreError(
      .outcomeUnknown,
      """
      The connection was lost during a commit, and for \(timeout) it could not be found out \
      whether it was made: \(reason)
      """)
  }

  private static func pause(_ duration: Duration, on loop: Loop) async {
    await withCheckedContinuation { continuation in
      _ = loop.schedule(after: duration) { continuation.resume() }
    }
  }
}
