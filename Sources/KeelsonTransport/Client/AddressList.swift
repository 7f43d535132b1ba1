import Synchronization

/// Addresses that the program itself sets, and may set anew at any time; the channels that use the
/// list follow at once.
public final class AddressList: AddressResolver {
  private struct State {
    var addresses: [ServerAddress]
    var watchers: [Int: AsyncStream<Void>.Continuation] = [:]
    var nextWatcher = 0
  }
  private let state: Mutex<State>

  public init(_ addresses: [ServerAddress]) {
    state = Mutex(State(addresses: addresses))
  }

  /// Replaces the addresses. Connections to those that are gone end with their last call.
  public func set(_ addresses: [ServerAddress]) {
    let watchers = state.withLock { state in
      state.addresses = addresses
      return Array(state.watchers.values)
    }
    for watcher in watchers { watcher.yield() }
  }

  public func addresses() async throws -> [ServerAddress] {
    state.withLock { $0.addresses }
  }

  public var changes: AsyncStream<Void>? {
    let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let number = state.withLock { state in
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = continuation
      return state.nextWatcher
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { _ = $0.watchers.removeValue(forKey: number) }
    }
    return stream
  }
}
