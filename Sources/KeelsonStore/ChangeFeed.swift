/// Which events a reader wants.
package struct EventFilter: Sendable, Hashable {
  /// Types that begin with this, `keelson.flags.` for example; empty: all.
  package var typePrefix: String

  package init(typePrefix: String = "") {
    self.typePrefix = typePrefix
  }

  package static let all = EventFilter()

  package func matches(_ event: CommittedEvent) -> Bool {
    typePrefix.isEmpty || event.type.utf8.starts(with: typePrefix.utf8)
  }
}

/// The events of all changes in their order, from the table and live.
package struct ChangeFeed: Sendable {
  let database: any Database

  package init(database: any Database) {
    self.database = database
  }

  /// The newest revision whose observers have been told; 0 before the first change.
  package var currentRevision: Int64 { database.liveEvents.currentRevision }

  /// The oldest revision that is still kept; one more than the current one when none is.
  package func oldestRevision() async throws -> Int64 {
    try await database.read { try await ChangeSequence.bounds(in: $0).compacted + 1 }
  }

  /// Calls back with the events of each commit, in revision order, once they are durable and
  /// before any change among them is acknowledged. Runs on the engine's writer thread: it must
  /// be quick and must not wait.
  ///
  /// - Parameter onEnd: called once when the database closes, or can follow the changes of other
  ///   nodes no more: what was learned from the events grows old from then on.
  @discardableResult
  package func observe(
    _ observe: @escaping @Sendable ([CommittedEvent]) -> Void,
    onEnd: @escaping @Sendable () -> Void = {}
  ) -> Observation {
    database.liveEvents.observe(observe, onEnd: onEnd)
  }

  /// Reads events after a revision from the table, in order.
  ///
  /// - Throws: ``StoreError`` with code revisionTooOld when events after that revision have been
  ///   compacted away.
  package func events(after revision: Int64, filter: EventFilter = .all, limit: Int) async throws
    -> [CommittedEvent]
  {
    try await page(after: revision, filter: filter, limit: limit).events
  }

  /// Events from the table, and the revision up to which nothing else matches.
  func page(after revision: Int64, filter: EventFilter, limit: Int) async throws -> (
    events: [CommittedEvent], upTo: Int64
  ) {
    try await database.read { transaction in
      let (last, compacted) = try await ChangeSequence.bounds(in: transaction)
      guard revision >= compacted else {
        throw StoreError(
          .revisionTooOld,
          """
          Events after revision \(revision) are no longer kept; the oldest kept is \
          \(compacted + 1). Start again from a snapshot.
          """)
      }
      let events = try await Events.select(
        after: revision, upTo: last, filter: filter, limit: limit, in: transaction)
      return (events, events.count == limit ? events.last?.revision ?? last : last)
    }
  }

  /// The events after a revision, stored and then live, without loss or repetition.
  ///
  /// A subscriber holds at most a page of events; one that falls behind what is kept in memory
  /// reads from the table until it has caught up. The sequence ends when the database closes; it
  /// throws as ``events(after:filter:limit:)`` does.
  package func subscribe(after revision: Int64, filter: EventFilter = .all) -> EventSubscription {
    EventSubscription(feed: self, after: revision, filter: filter)
  }
}
