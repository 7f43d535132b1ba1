import KeelsonAuditTrail
import Synchronization

/// The committed events of this process as they happen: observers, and the most recent events
/// for subscribers that keep up. The engine publishes; everybody else uses ``ChangeFeed``.
package final class LiveEvents: Sendable {
  /// How much is kept in memory for subscribers; slower ones read from the table.
  package struct Limits: Sendable {
    /// At most this many events.
    package var recentEvents = 4_096
    /// At most this many bytes of their data and payload.
    package var recentBytes = 8 << 20

    package init() {}
  }

  struct State {
    var current: Int64 = 0
    /// The number of the newest audit entry.
    var auditSequence: Int64 = 0
    var auditWaiters: [UInt64: CheckedContinuation<Int64?, any Error>] = [:]
    /// Without a gap, the last one's revision is `current`.
    var recent = Deque<CommittedEvent>()
    var recentBytes = 0
    var observers: [Observer] = []
    var waiters: [UInt64: Waiter] = [:]
    var nextID: UInt64 = 0
    var isFinished = false
  }

  struct Observer {
    let id: UInt64
    let observe: @Sendable ([CommittedEvent]) -> Void
    let onEnd: @Sendable () -> Void
  }

  struct Waiter {
    let filter: EventFilter
    let continuation: CheckedContinuation<Wake, any Error>
  }

  /// What ends a wait.
  enum Wake: Sendable {
    /// Look again; nothing that matches lies at or before this revision.
    case events(after: Int64)
    case finished
  }

  let limits: Limits
  let state = Mutex(State())

  package init(limits: Limits = Limits()) {
    self.limits = limits
  }

  /// The revision of the newest event published.
  package var currentRevision: Int64 { state.withLock { $0.current } }

  /// Says where the changes stand before the first event is published.
  package func start(at head: ChangeHead) {
    state.withLock { state in
      state.auditSequence = max(state.auditSequence, head.audit.sequence)
      guard head.revision > state.current else { return }
      state.current = head.revision
      state.recent = Deque()
      state.recentBytes = 0
    }
  }

  /// Hands durable events, in revision order and without a gap after the last ones, to the
  /// observers and then to whoever waits. Called from one thread at a time.
  package func publish(_ committed: Committed) {
    publishAudit(upTo: committed.auditSequence)
    let events = committed.events
    guard let first = events.first, let last = events.last else { return }
    let (observers, woken) = state.withLock { state in
      state.current = last.revision
      keep(events, in: &state)
      var woken: [Waiter] = []
      for (id, waiter) in state.waiters where events.contains(where: waiter.filter.matches) {
        woken.append(waiter)
        state.waiters[id] = nil
      }
      return (state.observers, woken)
    }
    for observer in observers { observer.observe(events) }
    for waiter in woken {
      waiter.continuation.resume(returning: .events(after: first.revision - 1))
    }
  }

  /// Ends all subscriptions, and tells the observers that they will hear of no more changes, or of
  /// few: the database closes, or can follow the changes no more.
  package func finish() {
    let (waiters, auditWaiters, observers) = state.withLock { state in
      defer {
        state.isFinished = true
        state.waiters = [:]
        state.auditWaiters = [:]
      }
      return (
        Array(state.waiters.values), Array(state.auditWaiters.values),
        state.isFinished ? [] : state.observers
      )
    }
    for observer in observers { observer.onEnd() }
    for waiter in waiters { waiter.continuation.resume(returning: .finished) }
    for waiter in auditWaiters { waiter.resume(returning: nil) }
  }

  /// Lets go of all observers, once no more events can come: they tend to hold the database.
  package func removeObservers() {
    state.withLock { $0.observers = [] }
  }

  private func keep(_ events: [CommittedEvent], in state: inout State) {
    state.recent.append(contentsOf: events)
    for event in events { state.recentBytes += event.heldBytes }
    while state.recent.count > limits.recentEvents || state.recentBytes > limits.recentBytes,
      let oldest = state.recent.popFirst()
    {
      state.recentBytes -= oldest.heldBytes
    }
  }
}

extension CommittedEvent {
  var heldBytes: Int { payload.count + data.text.utf8.count }
}

/// A registered observer; it observes until cancelled.
package struct Observation: Sendable {
  let live: LiveEvents
  let id: UInt64

  /// Takes the observer away. One that is being called right now may still finish its call.
  package func cancel() {
    live.state.withLock { state in state.observers.removeAll { $0.id == id } }
  }
}

extension LiveEvents {
  func observe(
    _ observe: @escaping @Sendable ([CommittedEvent]) -> Void,
    onEnd: @escaping @Sendable () -> Void
  ) -> Observation {
    let (id, isFinished) = state.withLock { state in
      state.nextID += 1
      state.observers.append(Observer(id: state.nextID, observe: observe, onEnd: onEnd))
      return (state.nextID, state.isFinished)
    }
    if isFinished { onEnd() }
    return Observation(live: self, id: id)
  }
}
