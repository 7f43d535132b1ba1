import Synchronization

/// Wakes one task that waits; what happens while it is busy wakes it at once when it waits again.
package final class Wakeup: Sendable {
  private struct State {
    var isSet = false
    var isClosed = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  package init() {}

  package func set() {
    let waiter = state.withLock { state in
      defer { state.waiter = nil }
      if state.waiter == nil { state.isSet = true }
      return state.waiter
    }
    waiter?.resume()
  }

  /// Lets every wait end from now on.
  package func close() {
    state.withLock { $0.isClosed = true }
    set()
  }

  /// Waits until set; returns at once when it was set since the last wait.
  ///
  /// - Returns: false once closed, or when the task is cancelled.
  package func wait() async -> Bool {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          guard !state.isSet, !state.isClosed, !Task.isCancelled else {
            state.isSet = false
            return true
          }
          state.waiter = continuation
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      set()
    }
    return !Task.isCancelled && !state.withLock { $0.isClosed }
  }
}
