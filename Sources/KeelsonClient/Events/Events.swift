public import KeelsonAPI
public import KeelsonCore

/// What happens in Keelson.
public struct Events: Sendable {
  private let service: KeelsonEventsV1.EventServiceClient
  private let subscriptions: SubscriptionRegistry
  private let policy: SubscriptionPolicy

  init(
    channel: any Channel, subscriptions: SubscriptionRegistry, policy: SubscriptionPolicy
  ) {
    service = KeelsonEventsV1.EventServiceClient(channel: channel)
    self.subscriptions = subscriptions
    self.policy = policy
  }

  /// Where a subscription begins.
  public enum Start: Sendable, Hashable {
    /// With what happens from now on.
    case now
    /// With the oldest event that is kept.
    case oldest
    /// With the event after this revision.
    case after(Int64)
  }

  /// Events as they happen, one after the other, each once.
  ///
  /// ```swift
  /// for try await event in keelson.events.subscribe(types: ["keelson.flags.*"], from: .now) {
  ///   print(event.type, event.subject)
  /// }
  /// ```
  ///
  /// When the connection or the server is lost, the sequence connects again by itself and goes on
  /// after the last event. To go on in another process, keep ``Event/position``. A loop that is
  /// slow gets its durable events later; of telemetry it loses what it is too slow for, which
  /// ``Event/droppedBefore`` counts.
  ///
  /// - Parameters:
  ///   - types: names, or the beginning of names and a `*`; empty: all of the classes.
  ///   - subjects: what they are about, in the same way; empty: anything.
  ///   - classes: durable events, telemetry, or both.
  public func subscribe(
    types: [String] = [], subjects: [String] = [], classes: Set<Event.Class> = [.durable],
    from start: Start = .now
  ) -> EventStream {
    var request = KeelsonEventsV1.SubscribeRequest(
      types: types, subjects: subjects,
      classes: Event.Class.allCases.filter(classes.contains).map(\.message))
    switch start {
    case .now: break
    case .oldest: request.start = .fromOldest(true)
    case .after(let revision): request.start = .afterRevision(revision)
    }
    return EventStream(
      service: service, request: request, subscriptions: subscriptions, policy: policy)
  }

  /// One durable event.
  ///
  /// - Throws: ``RPCError``: NOT_FOUND when there is none yet, OUT_OF_RANGE when it is no longer
  ///   kept.
  public func get(_ revision: Int64, options: CallOptions = CallOptions()) async throws -> Event {
    try Event(try await service.getEvent(.init(revision: revision), options: options))
  }

  /// A page of the durable events that are kept.
  ///
  /// - Parameters:
  ///   - query: which.
  ///   - page: ``EventPage/next`` or ``EventPage/previous`` of another page of the same query; nil:
  ///     the first. A page may be empty though there is a next one, where several filters have to be
  ///     looked through.
  /// - Throws: ``RPCError``, INVALID_ARGUMENT for a query that makes no sense for example.
  public func list(
    _ query: EventQuery = EventQuery(), page: String? = nil, options: CallOptions = CallOptions()
  ) async throws -> EventPage {
    var request = query.request(page: page ?? "")
    var response = try await service.listEvents(request, options: options)
    // The server ends a page early when it has looked through much in vain.
    while page == nil, response.events.isEmpty, !response.nextPageToken.isEmpty {
      request.pageToken = response.nextPageToken
      response = try await service.listEvents(request, options: options)
    }
    return EventPage(
      events: try response.events.map { try Event($0) },
      next: response.nextPageToken.isEmpty ? nil : response.nextPageToken,
      previous: response.previousPageToken.isEmpty ? nil : response.previousPageToken)
  }

  /// Every type of event that the server publishes.
  ///
  /// - Throws: ``RPCError``.
  public func types(options: CallOptions = CallOptions()) async throws
    -> [KeelsonEventsV1.EventType]
  {
    try await service.listEventTypes(.init(), options: options).eventTypes
  }
}

/// Which events to list.
public struct EventQuery: Sendable, Hashable {
  /// Names, or the beginning of names and a `*`; empty: all.
  public var types: [String]
  /// What they are about, or the beginning of it and a `*`; empty: anything.
  public var subject: String
  /// Who did it; empty: anybody.
  public var actor: String
  /// The call that did it; empty: any.
  public var correlationID: String
  /// Not before this time.
  public var from: UnixTime?
  /// Before this time.
  public var to: UnixTime?
  public var isOldestFirst: Bool
  /// At most this many on a page; 0: as the server likes.
  public var pageSize: Int32

  public init(
    types: [String] = [], subject: String = "", actor: String = "", correlationID: String = "",
    from: UnixTime? = nil, to: UnixTime? = nil, isOldestFirst: Bool = false, pageSize: Int32 = 0
  ) {
    self.types = types
    self.subject = subject
    self.actor = actor
    self.correlationID = correlationID
    self.from = from
    self.to = to
    self.isOldestFirst = isOldestFirst
    self.pageSize = pageSize
  }

  func request(page: String) -> KeelsonEventsV1.ListEventsRequest {
    KeelsonEventsV1.ListEventsRequest(
      pageSize: pageSize, pageToken: page, types: types, subject: subject, actor: actor,
      correlationId: correlationID, startTime: from.map { .init($0) },
      endTime: to.map { .init($0) },
      orderBy: isOldestFirst ? "revision" : "")
  }
}

/// A page of events.
public struct EventPage: Sendable, Hashable {
  public var events: [Event]
  /// For the page after this one; nil when there is none.
  public var next: String?
  /// For the page before this one, which may be one that has come meanwhile.
  public var previous: String?
}
