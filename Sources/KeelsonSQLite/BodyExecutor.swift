import KeelsonStore
import Synchronization

/// Runs the asynchronous body of a transaction on the engine thread that owns the connection.
/// A body that waits only for its statements never leaves the thread; one that waits for
/// something else keeps the thread waiting with it.
final class BodyExecutor: TaskExecutor {
  private struct State {
    var jobs = Deque<UnownedJob>()
    var isSleeping = false
    var isDone = true
  }
  private let state = Mutex(State())
  private let signal = WakeSignal()

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    wakeAfter { $0.jobs.append(job) }
  }

  /// Runs a body to its end on the calling thread, which is the only one that calls this.
  ///
  /// - Parameter started: receives the body's task before it runs, to cancel it by.
  func run(
    _ body: @escaping @Sendable () async -> Void, started: (Task<Void, Never>) -> Void
  ) {
    state.withLock { $0.isDone = false }
    let task = Task(executorPreference: self) {
      await body()
      self.wakeAfter { $0.isDone = true }
    }
    started(task)
    while let job = next() {
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
    }
  }

  private func next() -> UnownedJob? {
    while true {
      let (job, isDone): (UnownedJob?, Bool) = state.withLock { state in
        if let job = state.jobs.popFirst() { return (job, false) }
        if !state.isDone { state.isSleeping = true }
        return (nil, state.isDone)
      }
      if let job { return job }
      if isDone { return nil }
      signal.sleep()
    }
  }

  private func wakeAfter(_ change: (inout State) -> Void) {
    let mustWake = state.withLock { state in
      change(&state)
      defer { state.isSleeping = false }
      return state.isSleeping
    }
    if mustWake { signal.wake() }
  }
}
