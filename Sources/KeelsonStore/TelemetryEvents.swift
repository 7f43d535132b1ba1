package import KeelsonCore
import Synchronization

/// Something that happened too often to be stored: told to whoever listens now, and to nobody
/// else.
package struct TelemetryEvent: Sendable, Hashable {
  /// A UUID.
  package var id: String
  package var time: UnixTime
  /// The CloudEvents type, `keelson.flags.FeatureFlagEvaluated` for example.
  package var type: String
  package var subject: String
  package var data: JSONText
  package var actor: String
  package var correlationID: String
  package var traceparent: String

  package init(
    type: String, subject: String, data: JSONText = .emptyObject,
    origin: ChangeOrigin = .system()
  ) {
    time = .now
    id = UUIDv7.make(at: time)
    self.type = type
    self.subject = subject
    self.data = data
    actor = origin.actor
    correlationID = origin.correlationID
    traceparent = origin.traceparent
  }
}

/// The happenings of this process that are not stored. Publishing costs one atomic load while
/// nobody listens.
package final class TelemetryEvents: Sendable {
  fileprivate struct Listener {
    let wantsType: @Sendable (String) -> Bool
    let wants: @Sendable (TelemetryEvent) -> Bool
    let limit: Int
    var waiting = Deque<TelemetryEvent>()
    var dropped: UInt64 = 0
    var continuation: CheckedContinuation<Void, Never>?

    /// Lets an event wait, if it is wanted. The newest are dropped: what waits is in order, and
    /// the listener is told how many.
    ///
    /// - Returns: who is to be woken.
    mutating func take(_ event: TelemetryEvent) -> CheckedContinuation<Void, Never>? {
      guard wantsType(event.type), wants(event) else { return nil }
      if waiting.count < limit { waiting.append(event) } else { dropped += 1 }
      return continuation.take()
    }
  }

  fileprivate struct State {
    var listeners: [UInt64: Listener] = [:]
    var nextID: UInt64 = 0
    var isFinished = false
    /// Whether anybody wants a type, for those asked about since the listeners last changed.
    var isWanted: [String: Bool] = [:]

    /// Types are few: the publishers are our own.
    mutating func isWanted(_ type: String) -> Bool {
      if let known = isWanted[type] { return known }
      let isWanted = listeners.values.contains { $0.wantsType(type) }
      self.isWanted[type] = isWanted
      return isWanted
    }
  }

  fileprivate let state = Mutex(State())
  private let listenerCount = Atomic<Int>(0)

  package init() {}

  /// Whether anybody listens.
  package var hasListeners: Bool { listenerCount.load(ordering: .relaxed) > 0 }

  /// Hands an event to the listeners that want its type. It is made only when anybody listens.
  package func publish(type: String, _ event: () -> TelemetryEvent) {
    // The rest stands apart, so that whoever publishes to nobody pays for this look and no more.
    if hasListeners { tellListeners(of: type, event) }
  }

  @inline(never)
  private func tellListeners(of type: String, _ event: () -> TelemetryEvent) {
    guard state.withLock({ $0.isWanted(type) }) else { return }
    let event = event()
    let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      var woken: [CheckedContinuation<Void, Never>] = []
      for id in state.listeners.keys {
        if let continuation = state.listeners[id]?.take(event) { woken.append(continuation) }
      }
      return woken
    }
    for continuation in woken { continuation.resume() }
  }

  /// Begins to listen; what is published from now on waits for ``Subscription/next()``.
  ///
  /// - Parameters:
  ///   - limit: how many events wait at most; further ones are dropped and counted.
  ///   - wants: which events, of the types that are wanted.
  ///   - wantsType: which types. Both are called under a lock, so they must be quick.
  package func subscribe(
    limit: Int, wants: @escaping @Sendable (TelemetryEvent) -> Bool = { _ in true },
    wantsType: @escaping @Sendable (String) -> Bool
  ) -> Subscription {
    let id = state.withLock { state in
      state.nextID += 1
      state.listeners[state.nextID] = Listener(
        wantsType: wantsType, wants: wants, limit: limit)
      state.isWanted = [:]
      return state.nextID
    }
    listenerCount.wrappingAdd(1, ordering: .relaxed)
    return Subscription(events: self, id: id)
  }

  /// Ends all subscriptions: the server is stopping.
  package func finish() {
    let waiting = state.withLock { state in
      state.isFinished = true
      return state.listeners.keys.compactMap { state.listeners[$0]?.continuation.take() }
    }
    for continuation in waiting { continuation.resume() }
  }

  fileprivate func remove(_ id: UInt64) {
    let listener = state.withLock { state in
      state.isWanted = [:]
      return state.listeners.removeValue(forKey: id)
    }
    guard let listener else { return }
    listenerCount.wrappingSubtract(1, ordering: .relaxed)
    listener.continuation?.resume()
  }

  /// One listener. It stops listening when it is let go of.
  package final class Subscription: Sendable {
    /// What waits for a listener.
    package struct Batch: Sendable {
      package var events: [TelemetryEvent] = []
      /// How many were dropped since the last batch because too many waited.
      package var dropped: UInt64 = 0
    }

    private let events: TelemetryEvents
    private let id: UInt64

    fileprivate init(events: TelemetryEvents, id: UInt64) {
      self.events = events
      self.id = id
    }

    deinit {
      events.remove(id)
    }

    /// Waits for the next events. For one task at a time.
    ///
    /// - Returns: at least one event or one dropped; nil when the server stops.
    /// - Throws: `CancellationError` when the task is cancelled.
    package func next() async throws -> Batch? {
      while true {
        try Task.checkCancellation()
        let (batch, isFinished) = take()
        if !batch.events.isEmpty || batch.dropped > 0 { return batch }
        if isFinished { return nil }
        await wait()
      }
    }

    /// What waits right now.
    private func take() -> (batch: Batch, isFinished: Bool) {
      events.state.withLock { state in
        var batch = Batch()
        while let event = state.listeners[id]?.waiting.popFirst() { batch.events.append(event) }
        batch.dropped = state.listeners[id]?.dropped ?? 0
        state.listeners[id]?.dropped = 0
        return (batch, state.isFinished)
      }
    }

    private func wait() async {
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isDue = events.state.withLock { state in
            guard let listener = state.listeners[id], !state.isFinished, !Task.isCancelled,
              listener.waiting.isEmpty, listener.dropped == 0
            else { return true }
            state.listeners[id]?.continuation = continuation
            return false
          }
          if isDue { continuation.resume() }
        }
      } onCancel: {
        events.state.withLock { $0.listeners[id]?.continuation.take() }?.resume()
      }
    }
  }
}
