import KeelsonCore
import KeelsonStore

/// A write on its way: it waits for its turn, its body runs, it waits for the commit. The body runs
/// in the caller's own task, on the writer's loop.
///
/// `@unchecked Sendable`: touched on the writer's loop only.
final class WriteTurn: @unchecked Sendable {
  private enum Phase {
    /// In the queue. Can transition to: running, over.
    case waiting(CheckedContinuation<PostgresTransaction, any Error>)
    /// Its body runs. Can transition to: ended.
    case running(CheckedContinuation<Void, Never>)
    /// Its body has ended; the caller waits for the commit. Can transition to: over.
    case ended(CheckedContinuation<Void, any Error>)
    /// It was answered, or given up.
    case over
  }

  private var phase: Phase
  /// What the body threw.
  private(set) var error: (any Error)?

  /// After which nobody waits for it any more.
  private let deadline: Deadline?

  init(
    _ continuation: CheckedContinuation<PostgresTransaction, any Error>, deadline: Deadline?
  ) {
    phase = .waiting(continuation)
    self.deadline = deadline
  }

  var isLate: Bool { deadline.map { $0.remaining <= .zero } ?? false }

  /// How long its statements may run, where its deadline is nearer than a limit.
  func statementTimeout(below limit: Duration) -> Duration? {
    guard let remaining = deadline?.remaining, remaining < limit else { return nil }
    return max(remaining, .milliseconds(1))
  }

  var isWaiting: Bool { if case .waiting = phase { true } else { false } }

  /// Ends a wait for the turn; does nothing once it has come.
  func refuse(_ error: any Error) {
    guard case .waiting(let continuation) = phase else { return }
    phase = .over
    continuation.resume(throwing: error)
  }

  /// Has the body run to its end.
  func run(in transaction: PostgresTransaction) async {
    guard case .waiting(let start) = phase else { return }
    await withCheckedContinuation { ended in
      phase = .running(ended)
      start.resume(returning: transaction)
    }
  }

  /// The body has ended: waits for the commit.
  ///
  /// - Throws: why nothing of it is durable.
  func waitForCommit(error: (any Error)?) async throws {
    try await withCheckedThrowingContinuation {
      (continuation: CheckedContinuation<Void, any Error>) in
      guard case .running(let ended) = phase else {
        continuation.resume(throwing: StoreError(.misuse, "A write ended before its turn."))
        return
      }
      self.error = error
      phase = .ended(continuation)
      ended.resume()
    }
  }

  /// Answers the caller.
  func finish(_ error: (any Error)?) {
    guard case .ended(let continuation) = phase else { return }
    phase = .over
    if let error { continuation.resume(throwing: error) } else { continuation.resume() }
  }
}
