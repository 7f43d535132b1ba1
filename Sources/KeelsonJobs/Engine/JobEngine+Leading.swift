import KeelsonStore

extension JobEngine {
  /// How long the connection of the server that leads may say nothing: it asks who leads every three
  /// seconds at the least.
  static let leaderSilence: Duration = .seconds(15)

  /// Ends the connection of a server that leads and says nothing, so that another can: it was stopped,
  /// or its machine is cut off, and PostgreSQL would wait for hours for it. If it lives it connects
  /// anew; what two do at once does no harm.
  ///
  /// - Returns: whether there was one.
  /// - Throws: ``StoreError``.
  func endSilentLeader() async throws -> Bool {
    let silence = Self.leaderSilence
    return try await database.read { transaction in
      // The lock of a number has its upper half as class, its lower as object, and subobject 1.
      let rows = try await transaction.query(
        """
        SELECT CASE WHEN pg_terminate_backend(held.pid) THEN 1 ELSE 0 END
        FROM pg_locks AS held JOIN pg_stat_activity AS activity ON activity.pid = held.pid
        WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
          AND CAST(held.classid AS BIGINT) = $1 AND CAST(held.objid AS BIGINT) = $2
          AND activity.datname = current_database() AND activity.usename = current_user
          AND held.database = activity.datid AND activity.state = 'idle'
          AND activity.state_change < clock_timestamp() - CAST($3 AS BIGINT) * INTERVAL '1 second'
        """,
        [
          .integer(Self.leaderLock >> 32), .integer(Self.leaderLock & 0xFFFF_FFFF),
          .integer(silence.components.seconds),
        ])
      return try rows.contains { try $0.get(0) }
    }
  }
}
