package import KeelsonAPI
package import KeelsonCore
import KeelsonStore

extension EventService {
  package func subscribe(
    _ request: API.SubscribeRequest, responses: ResponseWriter<API.SubscribeResponse>,
    context: ServerContext
  ) async throws {
    let selection = try EventSelection(request, limits: limits)
    let subscriber = try hub.enter(selection)
    defer { hub.leave(subscriber) }
    // Listens before it says so, so that whoever has the first message misses nothing.
    let listener =
      selection.kinds.contains(.telemetry)
      ? telemetry.subscribe(limit: limits.telemetryBuffer) { event in
        selection.subjects.matches(event.subject)
      } wantsType: { type in
        selection.types.matches(type)
      } : nil
    let start = try await start(of: request)
    try await responses.write(heartbeat(at: start))
    guard let listener else {
      return try await serve(subscriber, after: start, to: responses)
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        while let batch = try await listener.next() { try await subscriber.supply(batch) }
      }
      defer { group.cancelAll() }
      try await serve(subscriber, after: start, to: responses)
    }
  }

  /// The revision after which a subscription begins.
  ///
  /// - Throws: `RPCError` OUT_OF_RANGE when events after the one asked for have been removed, or
  ///   it has not been reached.
  private func start(of request: API.SubscribeRequest) async throws -> Int64 {
    switch request.start {
    case nil, .fromOldest(false):
      return max(hub.current, database.feed.currentRevision)
    case .fromOldest(true):
      return try await read { try await EventRepository.bounds(in: $0) }.compacted
    case .afterRevision(let revision):
      guard revision >= 0 else {
        throw RPCError.invalidArgument(field: "after_revision", "\(revision) is negative")
      }
      // The table knows what another server of the fleet has committed a moment ago.
      let bounds = try await read { try await EventRepository.bounds(in: $0) }
      guard revision >= bounds.compacted else {
        throw EventService.compacted(after: revision, oldest: bounds.compacted + 1)
      }
      guard revision <= bounds.last else {
        throw RPCError(
          .outOfRange,
          "Revision \(revision) has not been reached: the newest is \(bounds.last). The data of "
            + "the server may have been restored; begin anew.",
          details: [
            .errorInfo(
              reason: "REVISION_UNKNOWN", domain: "keelson",
              metadata: [
                "current_revision": String(bounds.last), "requested_revision": String(revision),
              ])
          ])
      }
      return revision
    }
  }

  /// Sends what the subscriber wants until its call ends.
  private func serve(
    _ subscriber: EventSubscriber, after start: Int64,
    to responses: ResponseWriter<API.SubscribeResponse>
  ) async throws {
    var position = start
    var beats = try hub.beats()
    var isSilent = false
    while true {
      let isBusy = try await sendDurable(subscriber.selection, after: &position, to: responses)
      let hasTelemetry = try await sendTelemetry(subscriber, at: position, to: responses)
      if isBusy || hasTelemetry { isSilent = false }
      let due = try hub.beats()
      if due != beats {
        beats = due
        if isSilent { try await responses.write(heartbeat(at: position)) }
        isSilent = true
      }
      if !isBusy { try await subscriber.wait() }
    }
  }

  /// How many durable events are taken at once, and so held at most, by one subscriber.
  private static let eventsPerTurn = 64

  /// How long a subscriber waits when more reads wait than are let wait.
  private static let busyDelay = Duration.milliseconds(100)

  /// Sends a few durable events.
  ///
  /// - Returns: whether there may be more.
  private func sendDurable(
    _ selection: EventSelection, after position: inout Int64,
    to responses: ResponseWriter<API.SubscribeResponse>
  ) async throws -> Bool {
    guard selection.kinds.contains(.durable) else {
      position = max(position, hub.current)
      return false
    }
    switch hub.delivery(selection, after: position, limit: EventService.eventsPerTurn) {
    case .none:
      return false
    case .entries(let entries, let end):
      for entry in entries { try await responses.write(encoded: entry.bytes) }
      position = end
      return !entries.isEmpty
    case .table:
      let from = position
      let (events, end) = try await page(after: from, selection)
      for event in events {
        try await responses.write(
          API.SubscribeResponse(
            revision: event.revision, content: .event(.init(event, source: source))))
      }
      position = end
      return true
    }
  }

  private func page(after revision: Int64, _ selection: EventSelection) async throws -> (
    events: [CommittedEvent], upTo: Int64
  ) {
    do {
      while true {
        do {
          return try await database.read {
            try await EventRepository.page(
              after: revision, selection, limit: EventService.eventsPerTurn, in: $0)
          }
        } catch let error as StoreError where error.code == .overloaded {
          // A subscriber has time: others go first.
          try await Task.sleep(for: EventService.busyDelay)
        }
      }
    } catch let error as StoreError where error.code == .revisionTooOld {
      let bounds = try await read { try await EventRepository.bounds(in: $0) }
      throw EventService.compacted(after: revision, oldest: bounds.compacted + 1)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// Sends the telemetry that waits.
  ///
  /// - Returns: whether any did.
  private func sendTelemetry(
    _ subscriber: EventSubscriber, at position: Int64,
    to responses: ResponseWriter<API.SubscribeResponse>
  ) async throws -> Bool {
    guard let batch = subscriber.takeTelemetry() else { return false }
    for event in batch.events {
      try await responses.write(
        API.SubscribeResponse(
          revision: position, content: .event(.init(event, source: source))))
    }
    // What waited came first; what was dropped came after it.
    if batch.dropped > 0 {
      try await responses.write(
        API.SubscribeResponse(
          revision: position, content: .dropped(.init(count: Int64(clamping: batch.dropped)))))
    }
    return true
  }

  private func heartbeat(at revision: Int64) -> API.SubscribeResponse {
    // A stream may just have been busy when the beat passed by.
    let interval = GoogleProtobuf.Duration(limits.heartbeatInterval * 2)
    return API.SubscribeResponse(
      revision: revision, content: .heartbeat(.init(interval: interval)))
  }
}
