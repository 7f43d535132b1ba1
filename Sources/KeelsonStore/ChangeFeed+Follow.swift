import Synchronization

extension ChangeFeed {
  /// Reads a state and observes what comes after it: no event between the two is missed, and none
  /// comes that the state has already, whatever other nodes do meanwhile.
  ///
  /// - Parameters:
  ///   - load: reads the state. Nothing is committed while it runs, on any node, and the observers
  ///     have been told of all that was; so it only reads, and leaves the rest to `take`.
  ///   - take: takes in what was read; changes go on meanwhile, and are told afterwards.
  ///   - observe: as ``observe(_:)`` says.
  /// - Throws: what ``Database/write(_:)`` and `take` throw; nothing is observed then.
  @discardableResult
  package func follow<Loaded: Sendable, Result: Sendable>(
    from load: @escaping @Sendable (any Transaction) async throws -> Loaded,
    taking take: (Loaded) async throws -> Result,
    _ observe: @escaping @Sendable ([CommittedEvent]) -> Void,
    onEnd: @escaping @Sendable () -> Void = {}
  ) async throws -> Result {
    let begun = Mutex<Observation?>(nil)
    let delayed = DelayedEvents(observe)
    do {
      let loaded = try await database.write { transaction in
        let loaded = try await load(transaction)
        // What others have changed ahead of it in the same commit is told only afterwards.
        delayed.skip(upTo: try await transaction.currentRevision())
        // On the writer's thread, which is the only one that publishes.
        let observation = self.observe({ delayed.take($0) }, onEnd: onEnd)
        begun.withLock { $0 = observation }
        return loaded
      }
      let result = try await take(loaded)
      delayed.tell()
      return result
    } catch {
      begun.withLock { $0 }?.cancel()
      throw error
    }
  }
}

/// Keeps events back until their observer is ready, and hands them on at once from then on.
private final class DelayedEvents: Sendable {
  private enum State {
    /// Can transition to: open.
    case kept([CommittedEvent])
    case open
  }

  private let observe: @Sendable ([CommittedEvent]) -> Void
  private let state = Mutex(State.kept([]))
  /// The revision of what the observer has already.
  private let known = Atomic<Int64>(0)

  init(_ observe: @escaping @Sendable ([CommittedEvent]) -> Void) {
    self.observe = observe
  }

  /// Called ahead of the first events.
  func skip(upTo revision: Int64) {
    known.store(revision, ordering: .releasing)
  }

  func take(_ all: [CommittedEvent]) {
    let known = known.load(ordering: .acquiring)
    let events = all.filter { $0.revision > known }
    guard !events.isEmpty else { return }
    let isOpen = state.withLock { state in
      guard case .kept(let kept) = state else { return true }
      state = .kept(kept + events)
      return false
    }
    if isOpen { observe(events) }
  }

  /// Tells what was kept back, and what comes while it is told, in order.
  func tell() {
    while true {
      let kept = state.withLock { state -> [CommittedEvent] in
        guard case .kept(let kept) = state else { return [] }
        state = kept.isEmpty ? .open : .kept([])
        return kept
      }
      guard !kept.isEmpty else { return }
      observe(kept)
    }
  }
}
