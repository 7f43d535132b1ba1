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

  /// The newest head that was seen.
  private var known: ChangeHead?

  /// Takes note of a head that the database has.
  func note(_ head: ChangeHead) {
    if let known, known.auditSequence > head.auditSequence { return }
    known = head
  }

  /// - Parameters:
  ///   - head: that of the database.
  ///   - seen: one that it had before.
  /// - Throws: ``StoreError`` with code revisionTooOld when it does not follow: the database was
  ///   restored, or another server took over that had not all.
  private func check(_ head: ChangeHead, follows seen: ChangeHead?) throws {
    guard let seen, !head.follows(seen) else { return }
    throw StoreError(
      .revisionTooOld,
      """
      The database is at revision \(head.revision) and audit entry \(head.auditSequence), which \
      does not follow \(seen.revision) and \(seen.auditSequence) that this server has seen: it was \
      restored, or another server took over that had not all. Restart this one.
      """)
  }

  /// Checks that a head which was read under the lock of all writes follows what was seen.
  ///
  /// - Throws: ``StoreError`` with code revisionTooOld.
  func check(_ head: ChangeHead) throws {
    try check(head, follows: known)
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
      let seen = known
      let results = try await connection.run([
        SQLStatement(
          "SELECT \(Events.columns) FROM events WHERE revision > $1 ORDER BY revision LIMIT $2",
          [.integer(revision), SQLValue(Self.pageSize)]),
        Self.head,
      ])
      guard results.count == 2, let row = results[1].rows.first else { return }
      let head = try ChangeHead.head(row)
      try check(head, follows: seen)
      let events = try results[0].rows.map(Events.event)
      // The head may be ahead of the page, which was read first: its part comes next.
      try publish(Committed(events: events, auditSequence: head.auditSequence))
      if events.isEmpty, try row.get("compacted_revision") > revision {
        throw StoreError(
          .revisionTooOld,
          """
          Events after revision \(revision) are no longer kept: this server was cut off from the \
          database for too long. Restart it.
          """)
      }
      if head.revision <= revision { return note(head) }
    }
  }

  /// The head of all changes, the compacted revision, and the database's clock.
  static let head = SQLStatement(
    "SELECT \(ChangeHead.columns), compacted_revision, \(ChangeHead.clock(.postgreSQL)) "
      + "FROM change_sequence")

  /// Where ``head`` has the database's clock.
  static let clockColumn = 5
}
