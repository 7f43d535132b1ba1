import Dispatch
import Synchronization

/// A wait that a cancelled task leaves at once, whatever it waits for.
final class CancellableWait<Value: Sendable>: Sendable {
  private enum State {
    case idle
    case waiting(CheckedContinuation<Value, any Error>)
    case over
  }
  private let state = Mutex(State.idle)

  /// Whether nobody waits any more.
  var isOver: Bool {
    state.withLock { state in
      if case .over = state { true } else { false }
    }
  }

  /// Ends the wait; only the first time counts.
  func end(_ result: Result<Value, any Error>) {
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
  func value(of work: () -> Void) async throws -> Value {
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

/// Reading files waits for a disk, which neither a loop nor a task may do: a queue of its own does.
enum FileQueue {
  private static let queue = DispatchQueue(label: "keelson.secrets.files")

  static func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    let wait = CancellableWait<Value>()
    return try await wait.value {
      queue.async {
        guard !wait.isOver else { return }
        wait.end(Result { try body() })
      }
    }
  }
}
