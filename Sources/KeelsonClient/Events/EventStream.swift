import KeelsonAPI
import KeelsonCore
import Synchronization

/// Events as they happen. See ``Events/subscribe(types:subjects:classes:from:)``.
///
/// Each loop over it is a subscription of its own from the same start. It ends when the client is
/// shut down.
public struct EventStream: AsyncSequence, Sendable {
  public typealias Element = Event
  public typealias Failure = any Error

  let service: KeelsonEventsV1.EventServiceClient
  let request: KeelsonEventsV1.SubscribeRequest
  let streams: EventStreams
  let policy: SubscriptionPolicy

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(reader: EventReader(self))
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let reader: EventReader

    init(reader: EventReader) {
      self.reader = reader
    }

    /// Waits for the next event; nil once the client is shut down.
    ///
    /// - Throws: ``RPCError`` for what trying again does not cure: INVALID_ARGUMENT, or OUT_OF_RANGE
    ///   when events that were asked for are no longer kept, for example. `CancellationError` when
    ///   the task is cancelled.
    public mutating func next() async throws -> Event? {
      try await reader.next(isolation: #isolation)
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async throws -> Event? {
      try await reader.next(isolation: actor)
    }
  }
}

/// One loop over an ``EventStream``: does what the state machine says, one call after the other.
/// Used by one task at a time.
final class EventReader {
  private let service: KeelsonEventsV1.EventServiceClient
  private let streams: EventStreams
  private var request: KeelsonEventsV1.SubscribeRequest
  private let calls: EventCalls
  private var call: Call?
  private var dropped: Int64 = 0

  private struct Call {
    var responses: ResponseStream<KeelsonEventsV1.SubscribeResponse>.AsyncIterator
    /// Ends the call when the server is silent for too long.
    var watch: Task<Void, Never>
    /// How long that is.
    var silenceLimit: Duration
  }

  init(_ stream: EventStream) {
    service = stream.service
    streams = stream.streams
    request = stream.request
    calls = EventCalls(policy: stream.policy)
    streams.add(calls)
  }

  deinit {
    call?.watch.cancel()
    calls.close()
    streams.remove(calls)
  }

  func next(isolation actor: isolated (any Actor)?) async throws -> Event? {
    while true {
      try Task.checkCancellation()
      guard try await connect() else { return nil }
      do {
        guard let response = try await receive(isolation: actor) else {
          try end(with: nil)
          continue
        }
        if let event = try take(response) { return event }
      } catch let error as RPCError {
        // What a cancelled task makes of its call is no failure of the server's.
        try Task.checkCancellation()
        try end(with: error)
      }
    }
  }

  /// Begins a call when none runs and its time has come.
  ///
  /// - Returns: false when the client was shut down.
  private func connect() async throws -> Bool {
    while call == nil {
      switch calls.next() {
      case .end: return false
      case .wait(let instant): try await calls.wait(until: instant)
      case .call(let waitForReady):
        let stream = service.subscribe(
          request, options: CallOptions(waitForReady: waitForReady))
        calls.attach { stream.cancel() }
        call = Call(
          responses: stream.makeAsyncIterator(), watch: startWatch(),
          silenceLimit: calls.silenceLimit)
      }
    }
    return true
  }

  private func receive(isolation actor: isolated (any Actor)?) async throws
    -> KeelsonEventsV1.SubscribeResponse?
  {
    guard var current = call else { return nil }
    calls.listen()
    let response = try await current.responses.next(isolation: actor)
    call?.responses = current.responses
    calls.heard(response)
    if call?.silenceLimit != calls.silenceLimit {
      // The watch may sleep for longer than it should now.
      call?.silenceLimit = calls.silenceLimit
      call?.watch.cancel()
      call?.watch = startWatch()
    }
    return response
  }

  private func startWatch() -> Task<Void, Never> {
    Task { [calls] in await calls.watchSilence() }
  }

  /// The event in a message, if there is one. The next call begins after it.
  private func take(_ response: KeelsonEventsV1.SubscribeResponse) throws -> Event? {
    request.start = .afterRevision(response.revision)
    switch response.content {
    case .event(let message):
      defer { dropped = 0 }
      return try Event(message, position: response.revision, droppedBefore: dropped)
    case .dropped(let dropped):
      self.dropped += dropped.count
      return nil
    case .heartbeat, nil:
      return nil
    }
  }

  /// The call has ended.
  ///
  /// - Throws: the failure, when trying again does not cure it.
  private func end(with failure: RPCError?) throws {
    call?.watch.cancel()
    call = nil
    try calls.end(with: failure)
  }
}
