package import KeelsonAPI
package import KeelsonCore
package import KeelsonStore
import Synchronization

/// `keelson.events.v1.EventService`: what happens, as CloudEvents.
///
/// The methods stand in extensions by what they are about: single events, lists and the catalogue
/// (this file), subscriptions, retention.
package final class EventService: KeelsonEventsV1.EventServiceHandler {
  package typealias API = KeelsonEventsV1

  let database: any Database
  let telemetry: TelemetryEvents
  /// Where events happen, for those who read them: a URI reference.
  let source: String
  private let currentLimits: Mutex<EventLimits>
  let hub: EventHub
  let retention: EventRetention
  let logger: Logger

  /// - Parameter source: the events' CloudEvents source, `/keelson/production` for example.
  package init(
    database: any Database, telemetry: TelemetryEvents, source: String,
    limits: EventLimits = EventLimits(), logger: Logger
  ) {
    self.database = database
    self.telemetry = telemetry
    self.source = source
    currentLimits = Mutex(limits)
    self.logger = logger
    hub = EventHub(source: source, limits: limits)
    retention = EventRetention(
      database: database, telemetry: telemetry, limits: limits, logger: logger)
  }

  // MARK: Limits

  /// Those that calls are held to.
  var limits: EventLimits { currentLimits.withLock { $0 } }

  /// Holds calls to other limits from now on. How many subscribe, what is kept in memory for them
  /// and retention stay as they were at the start.
  package func use(_ limits: EventLimits) {
    currentLimits.withLock { $0 = limits }
  }

  // MARK: Life

  /// Follows the changes from now on. Called once, before the first call.
  package func start() {
    database.feed.observe { [hub] events in
      hub.receive(events)
    } onEnd: { [hub] in
      // Nothing new would come: subscribers are to go to another server.
      hub.close()
    }
    hub.start(at: database.feed.currentRevision)
  }

  /// Gives events out, sends heartbeats and keeps the retention policy, until the task is
  /// cancelled.
  package func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.hub.run() }
      group.addTask { await self.retention.run() }
      while !Task.isCancelled {
        try? await Task.sleep(for: limits.heartbeatInterval)
        if !Task.isCancelled { hub.beat(at: database.feed.currentRevision) }
      }
      group.cancelAll()
    }
  }

  /// Ends all subscriptions, so that their callers go to another server or come back later.
  package func stop() {
    hub.close()
  }

  // MARK: Events

  package func getEvent(_ request: API.GetEventRequest, context: ServerContext) async throws
    -> IoCloudeventsV1.CloudEvent
  {
    guard request.revision > 0 else {
      throw RPCError.invalidArgument(
        field: "revision", "is \(request.revision); events are numbered from 1")
    }
    let (event, bounds) = try await read { transaction in
      (
        try await EventRepository.event(request.revision, in: transaction),
        try await EventRepository.bounds(in: transaction)
      )
    }
    if let event { return .init(event, source: source) }
    guard request.revision > bounds.compacted else {
      throw EventService.compacted(after: request.revision - 1, oldest: bounds.compacted + 1)
    }
    throw RPCError(
      .notFound, "There is no event \(request.revision) yet; the newest is \(bounds.last).",
      details: [
        .resourceInfo(
          type: "keelson.events.v1.Event", name: String(request.revision),
          description: "not found")
      ])
  }

  package func listEvents(_ request: API.ListEventsRequest, context: ServerContext) async throws
    -> API.ListEventsResponse
  {
    let page = try EventPage(request, limits: limits)
    let (events, endedAt) = try await read { try await EventRepository.list(page.query, in: $0) }
    return page.response(
      events.map { ($0.revision, IoCloudeventsV1.CloudEvent($0, source: source)) },
      endedAt: endedAt)
  }

  package func listEventTypes(
    _ request: API.ListEventTypesRequest, context: ServerContext
  ) async throws -> API.ListEventTypesResponse {
    if case .unrecognized(let number) = request.class {
      throw RPCError.invalidArgument(
        field: "class",
        "\(number) is no class; use EVENT_CLASS_DURABLE, EVENT_CLASS_TELEMETRY or none")
    }
    let kind = EventType.Kind(request.class)
    return API.ListEventTypesResponse(
      eventTypes: EventCatalogue.all.filter { kind == nil || $0.kind == kind }.map {
        API.EventType(name: $0.name, class: .init($0.kind), description: $0.summary)
      })
  }

  // MARK: Transactions

  func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.read(body)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// The error for events that were removed.
  static func compacted(after revision: Int64, oldest: Int64) -> RPCError {
    RPCError(
      .outOfRange,
      "Events after revision \(revision) are no longer all kept: the oldest kept is \(oldest). "
        + "Begin with from_oldest, or with what happens from now on.",
      details: [
        .errorInfo(
          reason: "REVISION_COMPACTED", domain: "keelson",
          metadata: [
            "oldest_revision": String(oldest), "requested_revision": String(revision),
          ])
      ])
  }
}
