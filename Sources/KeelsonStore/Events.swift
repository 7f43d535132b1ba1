import KeelsonCore

/// The table of events.
package enum Events {
  /// The columns in the order in which ``event(_:)`` reads them.
  package static let columns =
    "revision, time, type, subject, data, payload, actor, correlation_id, traceparent"

  /// The event that a row with ``columns`` holds.
  package static func event(_ row: Row) throws -> CommittedEvent {
    CommittedEvent(
      revision: try row.get(0), time: try row.get(1), type: try row.get(2),
      subject: try row.get(3), data: JSONText(verbatim: try row.get(4)), payload: try row.get(5),
      actor: try row.get(6), correlationID: try row.get(7), traceparent: try row.get(8))
  }

  private static let insertion = RowInsertion(into: "events", columns: columns)

  /// The statements that insert events, as few as it takes.
  static func insertions(of events: [CommittedEvent]) -> [SQLStatement] {
    insertion.statements(events) { event in
      [
        .integer(event.revision), SQLValue(event.time), .text(event.type), .text(event.subject),
        .text(event.data.text), .blob(event.payload), .text(event.actor),
        .text(event.correlationID), .text(event.traceparent),
      ]
    }
  }

  /// The events after a revision that match, in order.
  static func select(
    after revision: Int64, upTo last: Int64, filter: EventFilter, limit: Int,
    in transaction: any Transaction
  ) async throws -> [CommittedEvent] {
    try await transaction.query(
      """
      SELECT \(columns) FROM events
      WHERE revision > $1 AND revision <= $2 AND substr(type, 1, length($3)) = $3
      ORDER BY revision LIMIT $4
      """,
      [.integer(revision), .integer(last), .text(filter.typePrefix), SQLValue(limit)]
    ).map(event)
  }
}
