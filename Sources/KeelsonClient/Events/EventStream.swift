import KeelsonAPI
import KeelsonCore

/// Events as they happen. See ``Events/subscribe(types:subjects:classes:from:)``.
///
/// Each loop over it is a subscription of its own from the same start. It ends when the client is
/// shut down.
public struct EventStream: AsyncSequence, Sendable {
  public typealias Element = Event
  public typealias Failure = any Error

  let service: KeelsonEventsV1.EventServiceClient
  let request: KeelsonEventsV1.SubscribeRequest
  let subscriptions: SubscriptionRegistry
  let policy: SubscriptionPolicy

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(self)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let service: KeelsonEventsV1.EventServiceClient
    private let reader: SubscriptionReader<KeelsonEventsV1.SubscribeResponse>
    private var request: KeelsonEventsV1.SubscribeRequest
    private var dropped: Int64 = 0

    fileprivate init(_ stream: EventStream) {
      service = stream.service
      request = stream.request
      reader = SubscriptionReader(
        "events", policy: stream.policy, registry: stream.subscriptions
      ) { response in
        guard case .heartbeat(let heartbeat) = response.content else { return nil }
        return .init(interval: heartbeat.interval?.clampedDuration)
      }
    }

    /// Waits for the next event; nil once the client is shut down.
    ///
    /// - Throws: ``RPCError`` for what trying again does not cure: INVALID_ARGUMENT, or OUT_OF_RANGE
    ///   when events that were asked for are no longer kept, for example. `CancellationError` when
    ///   the task is cancelled.
    public mutating func next() async throws -> Event? {
      try await next(isolation: #isolation)
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async throws -> Event? {
      let service = service
      while true {
        let request = request
        let response = try await reader.next(
          isolation: actor, begin: { service.subscribe(request, options: $0) })
        guard let response else { return nil }
        // The next call begins after it.
        self.request.start = .afterRevision(response.revision)
        switch response.content {
        case .event(let message):
          defer { dropped = 0 }
          return try Event(message, position: response.revision, droppedBefore: dropped)
        case .dropped(let dropped): self.dropped += dropped.count
        case .heartbeat, nil: break
        }
      }
    }
  }
}
