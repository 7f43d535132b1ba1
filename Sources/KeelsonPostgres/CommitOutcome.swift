import KeelsonStore
import KeelsonTransport

/// Finds out what became of a commit whose answer was lost with its connection.
enum CommitOutcome {
  case committed
  case rolledBack

  /// Asks until the transaction has ended: then its lock is free. What still runs it on the server
  /// is ended first, so that it does not last. On the loop.
  ///
  /// - Parameter lost: the connection that ran it.
  /// - Throws: ``StoreError`` with code outcomeUnknown when it cannot be found out in time.
  static func find(
    of mark: BatchMark, on lost: PostgresConnection, through kept: KeptConnection,
    timeout: Duration
  ) async throws -> CommitOutcome {
    let end = ContinuousClock.now.advanced(by: timeout)
    var reason = "the database could not be reached"
    repeat {
      do {
        let connection = try await kept.connection()
        return try await ask(connection, mark, lost, until: end)
      } catch let error as StoreError {
        reason = error.message
      }
      await pause(.milliseconds(50), on: lost.loop)
    } while ContinuousClock.now < end
    throw StoreError(
      .outcomeUnknown,
      """
      The connection was lost during a commit, and for \(timeout) it could not be found out \
      whether it was made: \(reason)
      """)
  }

  private static func ask(
    _ connection: PostgresConnection, _ mark: BatchMark, _ lost: PostgresConnection,
    until end: ContinuousClock.Instant
  ) async throws -> CommitOutcome {
    let left = max(.milliseconds(1), end - .now)
    // A COMMIT that waits for a standby has no limit on the server.
    let timer = connection.loop.schedule(after: left) {
      connection.lose(.unreachable("The outcome of a commit was not answered in time."))
    }
    defer { connection.loop.cancel(timer) }
    do {
      let answer = try await connection.run([
        SQLStatement(
          """
          SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE pid = $1 AND CAST(backend_start AS TEXT) = $2
          """, [.integer(Int64(lost.backendID)), .text(lost.backendStart)]),
        SQLStatement("BEGIN"),
        PostgresWriter.lock,
        mark.lookUp,
        SQLStatement("COMMIT"),
      ])
      guard answer.count == 5, answer[4].tag == "COMMIT" else {
        throw StoreError(.unreachable, "The look at the batch was not committed.")
      }
      return answer[3].changedRows == 1 ? .committed : .rolledBack
    } catch {
      if connection.isOpen { _ = try? await connection.run([SQLStatement("ROLLBACK")]) }
      throw error
    }
  }

  private static func pause(_ duration: Duration, on loop: Loop) async {
    await withCheckedContinuation { continuation in
      _ = loop.schedule(after: duration) { continuation.resume() }
    }
  }
}
