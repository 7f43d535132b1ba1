import KeelsonStore
import Synchronization

/// The bounded queue between callers and the engine's threads.
final class WorkQueue: Sendable {
  private struct State {
    var waiting = Deque<any PendingWork>()
    var sleepers = 0
    var isClosed = false
  }

  private let limit: Int
  private let kind: String
  private let state = Mutex(State())
  private let signal = WakeSignal()

  /// - Parameters:
  ///   - limit: how much may wait; what comes beyond is answered with an overloaded error.
  ///   - kind: what waits here, for error messages: `writes` or `reads`.
  init(limit: Int, kind: String) {
    self.limit = limit
    self.kind = kind
  }

  /// How much waits.
  var count: Int { state.withLock { $0.waiting.count } }

  /// Puts work into the queue, or answers it with an error: overloaded or closed.
  func submit(_ work: any PendingWork) {
    enum Decision {
      case queued(wake: Bool)
      case refused(StoreError)
    }
    let decision: Decision = state.withLock { state in
      guard !state.isClosed else {
        return .refused(StoreError(.closed, "The database has been closed."))
      }
      guard state.waiting.count < limit else {
        return .refused(
          StoreError(.overloaded, "\(limit) \(kind) wait already, the most that may; try later."))
      }
      state.waiting.append(work)
      guard state.sleepers > 0 else { return .queued(wake: false) }
      state.sleepers -= 1
      return .queued(wake: true)
    }
    switch decision {
    case .queued(let wake): if wake { signal.wake() }
    case .refused(let error): work.finish(overriding: error)
    }
  }

  /// Waits for work; nil once the queue is closed and empty.
  func take() -> (any PendingWork)? {
    while true {
      enum Next {
        case work(any PendingWork)
        case sleep
        case end
      }
      let next: Next = state.withLock { state in
        if let work = state.waiting.popFirst() { return .work(work) }
        if state.isClosed { return .end }
        state.sleepers += 1
        return .sleep
      }
      switch next {
      case .work(let work): return work
      case .end: return nil
      case .sleep: signal.sleep()
      }
    }
  }

  /// Takes work that is there now, or that comes within a time; used by the one taker of a queue.
  func take(withinNanoseconds nanoseconds: Int64) -> (any PendingWork)? {
    let (work, mayCome) = state.withLock { state in
      let work = state.waiting.popFirst()
      // Nobody wakes who waits at a closed queue.
      let mayCome = work == nil && nanoseconds > 0 && !state.isClosed
      if mayCome { state.sleepers += 1 }
      return (work, mayCome)
    }
    guard mayCome else { return work }
    if !signal.sleep(nanoseconds: nanoseconds) {
      let wakeIsUnderWay = state.withLock { state in
        defer { state.sleepers = 0 }
        return state.sleepers == 0
      }
      // Takes the wake in, so that none is left over for the next sleep.
      if wakeIsUnderWay { signal.sleep() }
    }
    return state.withLock { $0.waiting.popFirst() }
  }

  /// Refuses new work and lets the threads end once they have done what waits.
  func close() {
    let sleepers = state.withLock { state in
      state.isClosed = true
      defer { state.sleepers = 0 }
      return state.sleepers
    }
    for _ in 0..<sleepers { signal.wake() }
  }
}
