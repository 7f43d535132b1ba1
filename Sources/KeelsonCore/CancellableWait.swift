import Synchronization

/// A wait that a cancelled task leaves at once, whatever it waits for.
package final class CancellableWait<Value: Sendable>: Sendable {
  private enum State {
    case idle
    case waiting(CheckedContinuation<Value, any Error>)
    case over
  }
  private let state = Mutex(State.idle)

  package init() {}

  /// Whether nobody waits any more.
  package var isOver: Bool {
    state.withLock { state in
      if case .over = state { true } else { false }
    }
  }

  /// Ends the wait; only the first time counts.
  package func end(_ result: Result<Value, any Error>) {
    let continuation = state.withLock { state -> CheckedContinuation<Value, any Error>? in
      defer { state = .over }
      if case .waiting(let continuation) = state { return continuation }
      return nil
    }
    continuation?.resume(with: result)
  }

  /// Begins the work and waits until it has called ``end(_:)``.
  ///
  /// - Throws: what the work ended with; `CancellationError` when the task was cancelled.
  package func value(of work: () -> Void) async throws -> Value {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let isCancelled = state.withLock { state in
          guard case .idle = state else { return true }
          state = .waiting(continuation)
          return false
        }
        guard !isCancelled else { return continuation.resume(throwing: CancellationError()) }
        work()
      }
    } onCancel: {
      end(.failure(CancellationError()))
    }
  }
}
