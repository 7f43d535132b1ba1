import KeelsonStore
import Synchronization

/// A transaction that somebody waits for, whatever its result.
protocol PendingWork: AnyObject, Sendable {
  /// Takes it up; false when whoever waited has given up.
  func begin(onCancel: (@Sendable () -> Void)?) -> Bool
  /// Runs the body and keeps its outcome.
  func run(in transaction: SQLiteTransaction) async
  /// Says which task runs the body, so that a cancellation reaches it.
  func attach(_ task: Task<Void, Never>)
  /// Makes the outcome an error, whatever the body returned.
  func fail(_ error: any Error)
  /// The error the body threw, or was made to fail with.
  var failure: (any Error)? { get }
  /// Answers whoever waits: with the body's outcome, or with an error that overrides it.
  func finish(overriding error: (any Error)?)
}

/// The body of a transaction on its way from the caller to an engine thread and back.
final class PendingTransaction<Value: Sendable>: PendingWork {
  private enum Phase {
    /// In the queue.
    case waiting
    /// Taken up by a thread. The closure interrupts its statement, where that is allowed.
    case running(onCancel: (@Sendable () -> Void)?)
    /// Answered.
    case finished
  }

  private struct State {
    var phase = Phase.waiting
    var continuation: CheckedContinuation<Value, any Error>?
    var task: Task<Void, Never>?
    var outcome: Result<Value, any Error>?
    var isCancelled = false
  }

  private let body: @Sendable (any Transaction) async throws -> Value
  private let state = Mutex(State())

  init(_ body: @escaping @Sendable (any Transaction) async throws -> Value) {
    self.body = body
  }

  /// Submits the work and waits for its answer.
  ///
  /// - Parameter submit: puts it into a queue, or answers it at once with an error.
  func value(submit: (any PendingWork) -> Void) async throws -> Value {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let isCancelled = state.withLock { state in
          if !state.isCancelled { state.continuation = continuation }
          return state.isCancelled
        }
        if isCancelled {
          continuation.resume(throwing: CancellationError())
        } else {
          submit(self)
        }
      }
    } onCancel: {
      cancel()
    }
  }

  private func cancel() {
    let continuation: CheckedContinuation<Value, any Error>? = state.withLock { state in
      state.isCancelled = true
      switch state.phase {
      case .waiting:
        state.phase = .finished
        defer { state.continuation = nil }
        return state.continuation
      case .running(let onCancel):
        state.task?.cancel()
        // Inside the lock: finish() takes it too, so the interrupt cannot hit the next one.
        onCancel?()
        return nil
      case .finished:
        return nil
      }
    }
    continuation?.resume(throwing: CancellationError())
  }

  func begin(onCancel: (@Sendable () -> Void)?) -> Bool {
    state.withLock { state in
      guard case .waiting = state.phase else { return false }
      state.phase = .running(onCancel: onCancel)
      return true
    }
  }

  func attach(_ task: Task<Void, Never>) {
    state.withLock { state in
      state.task = task
      if state.isCancelled { task.cancel() }
    }
  }

  func run(in transaction: SQLiteTransaction) async {
    let outcome: Result<Value, any Error>
    do {
      outcome = .success(
        try await SQLiteTransaction.$current.withValue(transaction) {
          try await body(transaction)
        })
    } catch {
      outcome = .failure(error)
    }
    state.withLock { $0.outcome = outcome }
  }

  func fail(_ error: any Error) {
    state.withLock { $0.outcome = .failure(error) }
  }

  var failure: (any Error)? {
    state.withLock { state in
      if case .failure(let error) = state.outcome { return error }
      return nil
    }
  }

  func finish(overriding error: (any Error)?) {
    let (continuation, outcome) = state.withLock { state in
      defer {
        state.phase = .finished
        state.continuation = nil
        state.task = nil
      }
      return (state.continuation, state.outcome)
    }
    if let error {
      continuation?.resume(throwing: error)
    } else if let outcome {
      continuation?.resume(with: outcome)
    } else {
      continuation?.resume(throwing: StoreError(.closed, "The transaction was never run."))
    }
  }
}
