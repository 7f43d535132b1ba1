import KeelsonStore

/// What this node has told its observers, of its own changes and of those that other nodes made:
/// in the order of their revisions, each once. Confined to the writer's loop.
final class PublishedChanges {
  /// How many events are read at once.
  static let pageSize = 512

  private let live: LiveEvents

  init(_ live: LiveEvents) {
    self.live = live
  }

  var revision: Int64 { live.currentRevision }

  /// What a notification says of a commit: its last revision, 0 where it has none, and its last
  /// audit sequence.
  static func notice(of committed: Committed) -> String {
    "\(committed.events.last?.revision ?? 0),\(committed.auditSequence)"
  }

  /// Whether all that a notification speaks of has been published.
  func includes(_ notice: String) -> Bool {
    let numbers = notice.split(separator: ",").map { Int64($0) }
    guard numbers.count == 2, let revision = numbers[0], let sequence = numbers[1] else {
      return false
    }
    return revision <= self.revision && sequence <= live.auditSequence
  }

  /// Tells the observers what they have not been told yet.
  ///
  /// - Throws: ``StoreError`` with code revisionTooOld when something is missing in between.
  func publish(_ committed: Committed) throws {
    let current = live.currentRevision
    var fresh = committed
    if let first = committed.events.first, first.revision <= current {
      fresh.events = committed.events.filter { $0.revision > current }
    }
    if let first = fresh.events.first, first.revision != current + 1 {
      throw StoreError(
        .revisionTooOld,
        """
        The events between revision \(current) and \(first.revision) are gone: this server was \
        cut off from the database for longer than events are kept. Restart it.
        """)
    }
    live.publish(fresh)
  }

  /// Reads what lies in the tables after what was published, and publishes it.
  func catchUp(on connection: PostgresConnection) async throws {
    while true {
      let before = revision
      let results = try await connection.run([
        SQLStatement(
          "SELECT \(Events.columns) FROM events WHERE revision > $1 ORDER BY revision LIMIT $2",
          [.integer(revision), SQLValue(Self.pageSize)]),
        Self.head,
      ])
      guard results.count == 2, let head = results[1].rows.first else { return }
      guard try head.get(0) >= before else {
        throw StoreError(
          .revisionTooOld,
          """
          The database is at revision \(try head.get(0, as: Int64.self)), behind \(before), which \
          this server has seen: it was restored, or another server took over that had not all. \
          Restart this one.
          """)
      }
      let events = try results[0].rows.map(Events.event)
      // The head may be ahead of the page, which was read first: its part comes next.
      try publish(Committed(events: events, auditSequence: try head.get(1)))
      if events.isEmpty, try head.get("compacted_revision") > revision {
        throw StoreError(
          .revisionTooOld,
          """
          Events after revision \(revision) are no longer kept: this server was cut off from the \
          database for too long. Restart it.
          """)
      }
      if try head.get(0) <= revision { return }
    }
  }

  /// The head of all changes, and the compacted revision.
  static let head = SQLStatement(
    "SELECT \(ChangeHead.columns), compacted_revision FROM change_sequence")
}
