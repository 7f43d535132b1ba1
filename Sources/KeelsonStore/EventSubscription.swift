import Synchronization

/// A stream of events from a revision on. See ``ChangeFeed/subscribe(after:filter:)``.
package struct EventSubscription: AsyncSequence, Sendable {
  package typealias Element = CommittedEvent

  /// How many events are taken at once, and so held at most, by one subscriber.
  package static let pageSize = 256

  let feed: ChangeFeed
  let after: Int64
  let filter: EventFilter

  package func makeAsyncIterator() -> Iterator {
    Iterator(feed: feed, position: after, filter: filter)
  }

  package struct Iterator: AsyncIteratorProtocol {
    let feed: ChangeFeed
    /// Everything up to here has been taken or does not match.
    var position: Int64
    let filter: EventFilter
    var taken = Deque<CommittedEvent>()

    package mutating func next() async throws -> CommittedEvent? {
      while taken.isEmpty {
        switch feed.database.liveEvents.take(
          after: position, filter: filter, limit: EventSubscription.pageSize)
        {
        case .events(let events, let upTo):
          taken = Deque(events)
          position = upTo
        case .readTable:
          let page = try await feed.page(
            after: position, filter: filter, limit: EventSubscription.pageSize)
          taken = Deque(page.events)
          position = Swift.max(position, page.upTo)
        case .wait:
          switch try await feed.database.liveEvents.wait(after: position, filter: filter) {
          case .events(let after): position = Swift.max(position, after)
          case .finished: return nil
          }
        case .finished:
          return nil
        }
      }
      return taken.popFirst()
    }
  }
}

extension LiveEvents {
  enum Taken: Sendable {
    /// Matching events, and the revision up to which there are no others.
    case events([CommittedEvent], upTo: Int64)
    /// The events lie too far back to be in memory.
    case readTable
    /// All caught up.
    case wait
    case finished
  }

  func take(after position: Int64, filter: EventFilter, limit: Int) -> Taken {
    state.withLock { state in
      guard !state.isFinished else { return .finished }
      guard position < state.current else { return .wait }
      guard let oldest = state.recent.first?.revision, oldest <= position + 1 else {
        return .readTable
      }
      var events: [CommittedEvent] = []
      for offset in Int(position + 1 - oldest)..<state.recent.count {
        let event = state.recent[offset]
        guard filter.matches(event) else { continue }
        events.append(event)
        if events.count == limit { return .events(events, upTo: event.revision) }
      }
      return .events(events, upTo: state.current)
    }
  }

  /// Waits until something that matches is published, or until there is something after a
  /// position that the caller has not looked at.
  func wait(after position: Int64, filter: EventFilter) async throws -> Wake {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let immediate: Result<Wake, any Error>? = state.withLock { state in
          if Task.isCancelled { return .failure(CancellationError()) }
          if state.isFinished { return .success(.finished) }
          if position < state.current { return .success(.events(after: position)) }
          state.waiters[id] = Waiter(filter: filter, continuation: continuation)
          return nil
        }
        if let immediate { continuation.resume(with: immediate) }
      }
    } onCancel: {
      let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
      waiter?.continuation.resume(throwing: CancellationError())
    }
  }
}
