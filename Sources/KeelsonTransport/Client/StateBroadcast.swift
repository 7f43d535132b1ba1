import Synchronization

/// The channel's state for whoever looks, and for those who watch it.
final class StateBroadcast: Sendable {
  private struct State {
    var current = ConnectivityState.idle
    var watchers: [Int: AsyncStream<ConnectivityState>.Continuation] = [:]
    var nextWatcher = 0
  }
  private let state = Mutex(State())

  var current: ConnectivityState { state.withLock { $0.current } }

  /// Sets the state; watchers hear of it if it is another.
  func set(_ new: ConnectivityState) {
    let watchers = state.withLock { state in
      guard state.current != new else { return [AsyncStream<ConnectivityState>.Continuation]() }
      state.current = new
      return Array(state.watchers.values)
    }
    for watcher in watchers {
      watcher.yield(new)
      if new == .shutdown { watcher.finish() }
    }
  }

  /// The current state, then each change until shutdown. A slow reader misses states that did
  /// not last; the latest it always gets.
  func watch() -> AsyncStream<ConnectivityState> {
    let (stream, continuation) = AsyncStream<ConnectivityState>.makeStream(
      bufferingPolicy: .bufferingNewest(1))
    let (number, current) = state.withLock { state in
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = continuation
      // Under the lock, so that no later state comes before it.
      continuation.yield(state.current)
      return (state.nextWatcher, state.current)
    }
    if current == .shutdown { continuation.finish() }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { _ = $0.watchers.removeValue(forKey: number) }
    }
    return stream
  }
}
