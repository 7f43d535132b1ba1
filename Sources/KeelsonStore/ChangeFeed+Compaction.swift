extension ChangeFeed {
  /// How many events one transaction deletes, so that changes never wait long behind it.
  private static let eventsPerStep: Int64 = 1_000

  /// Deletes the events up to a revision, for good, in steps that let changes pass in between.
  /// Whoever asks for events from before is told that they are gone.
  ///
  /// - Returns: how many were deleted.
  /// - Throws: ``StoreError``; `CancellationError` between two steps.
  @discardableResult
  package func compact(upTo revision: Int64) async throws -> Int {
    let dialect = database.dialect
    var deleted = 0
    while true {
      try Task.checkCancellation()
      let step = try await database.write { transaction -> Int? in
        let row = try await ChangeSequence.only(
          transaction,
          "SELECT last_revision, compacted_revision FROM change_sequence\(dialect.lockRows)")
        let last: Int64 = try row.get(0)
        let compacted: Int64 = try row.get(1)
        let end = min(revision, last, compacted + Self.eventsPerStep)
        guard end > compacted else { return nil }
        try await transaction.execute(
          "UPDATE change_sequence SET compacted_revision = $1", [.integer(end)])
        return try await transaction.execute(
          "DELETE FROM events WHERE revision <= $1", [.integer(end)])
      }
      guard let step else { return deleted }
      deleted += step
    }
  }
}
