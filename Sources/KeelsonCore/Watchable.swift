import Synchronization

/// A value that many may watch. A watcher that is slow sees the latest value, not every one.
package final class Watchable<Value: Sendable>: Sendable {
  fileprivate struct State {
    var value: Value
    var version = 0
    var isClosed = false
    var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    var nextWaiter = 0
  }

  private let state: Mutex<State>

  package init(_ value: Value) {
    state = Mutex(State(value: value))
  }

  /// The value now.
  package var value: Value { state.withLock { $0.value } }

  /// The value with its version, to wait for the next one from.
  package var current: (value: Value, version: Int) {
    state.withLock { ($0.value, $0.version) }
  }

  /// Changes the value and wakes who waits. The body must not use this object.
  package func update(_ body: (inout Value) -> Void) {
    let waiters = state.withLock { state in
      body(&state.value)
      state.version += 1
      return state.takeWaiters()
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Ends all waits: nothing changes any more.
  package func close() {
    let waiters = state.withLock { state in
      state.isClosed = true
      return state.takeWaiters()
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Waits for a value newer than a version; nil once closed.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  package func next(after version: Int) async throws -> (value: Value, version: Int)? {
    while true {
      let (found, isClosed) = state.withLock { state in
        (state.version > version ? (state.value, state.version) : nil, state.isClosed)
      }
      if let found { return found }
      if isClosed { return nil }
      try await wait(after: version)
    }
  }

  private func wait(after version: Int) async throws {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let isDue = state.withLock { state in
          guard state.version <= version, !state.isClosed, !Task.isCancelled else { return true }
          state.waiters[id] = continuation
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
    }
    try Task.checkCancellation()
  }
}

extension Watchable.State {
  fileprivate mutating func takeWaiters() -> [CheckedContinuation<Void, Never>] {
    let taken = Array(waiters.values)
    waiters = [:]
    return taken
  }
}
