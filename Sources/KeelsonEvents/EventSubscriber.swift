import KeelsonStore
import Synchronization

/// One `Subscribe` stream as the hub knows it: what it wants, and a bell that wakes it.
///
/// A ring is kept until it is heard, so nothing that happens between looking and waiting is missed.
final class EventSubscriber: Sendable {
  private struct State {
    var isRung = false
    var waiter: CheckedContinuation<Void, Never>?
    /// Telemetry that was handed over and not taken yet.
    var telemetry: TelemetryEvents.Subscription.Batch?
    /// Who hands it over, while there is no room.
    var supplier: CheckedContinuation<Void, Never>?
  }

  let selection: EventSelection
  private let state = Mutex(State())

  init(_ selection: EventSelection) {
    self.selection = selection
  }

  /// Says that there may be something.
  func ring() {
    let waiter = state.withLock { state in
      state.isRung = true
      return state.waiter.take()
    }
    waiter?.resume()
  }

  /// Waits for a ring, or takes one that came before.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  func wait() async throws {
    await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let isDue = state.withLock { state in
          if state.isRung || Task.isCancelled { return true }
          state.waiter = continuation
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiter.take() }?.resume()
    }
    try Task.checkCancellation()
    state.withLock { $0.isRung = false }
  }

  // MARK: Telemetry

  /// Hands over telemetry and waits until it has been taken: what comes meanwhile waits, bounded
  /// and counted, where it comes from.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  func supply(_ batch: TelemetryEvents.Subscription.Batch) async throws {
    state.withLock { $0.telemetry = batch }
    ring()
    await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let isDue = state.withLock { state in
          if state.telemetry == nil || Task.isCancelled { return true }
          state.supplier = continuation
          return false
        }
        if isDue { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.supplier.take() }?.resume()
    }
    try Task.checkCancellation()
  }

  /// Takes the telemetry that was handed over.
  func takeTelemetry() -> TelemetryEvents.Subscription.Batch? {
    let (batch, supplier) = state.withLock { state in
      (state.telemetry.take(), state.supplier.take())
    }
    supplier?.resume()
    return batch
  }
}
