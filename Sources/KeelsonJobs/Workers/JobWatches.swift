import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization

/// Who watches jobs on this server. A watcher that is slow gets the newest state of each job.
final class JobWatches: Sendable {
  typealias Job = KeelsonJobsV1.Job

  private struct Watcher {
    /// The one job that it watches; nil for those that ``matches`` lets through.
    let job: String?
    let matches: @Sendable (Job) -> Bool
    let wakeup: Wakeup
    var order = Deque<String>()
    var newest: [String: Job] = [:]
    var skipped = 0
  }

  private let limits: JobLimits
  private struct State {
    var watchers: [Int: Watcher] = [:]
    /// Who watches one job only, by job: most do, and are passed over by the others' news.
    var ofJob: [String: Set<Int>] = [:]
    var ofMany: Set<Int> = []
  }

  private let state = Mutex(State())
  private let nextID = Atomic(0)
  /// Jobs that one watcher may be behind by.
  private static let mostBehind = 10_000
  private static let heartbeatInterval: Duration = .seconds(20)

  init(limits: JobLimits) {
    self.limits = limits
  }

  /// Watches one job.
  func open(job: String) throws -> Int {
    try open(Watcher(job: job, matches: { _ in true }, wakeup: Wakeup()))
  }

  /// Watches all jobs that match.
  func open(_ matches: @escaping @Sendable (Job) -> Bool) throws -> Int {
    try open(Watcher(job: nil, matches: matches, wakeup: Wakeup()))
  }

  private func open(_ watcher: Watcher) throws -> Int {
    let id = nextID.add(1, ordering: .relaxed).newValue
    try state.withLock { state in
      guard state.watchers.count < limits.watches else {
        throw RPCError(
          .resourceExhausted, "\(limits.watches) streams watch jobs, the most that may.")
      }
      state.watchers[id] = watcher
      if let job = watcher.job {
        state.ofJob[job, default: []].insert(id)
      } else {
        state.ofMany.insert(id)
      }
    }
    return id
  }

  func close(_ id: Int) {
    state.withLock { state in
      state.ofMany.remove(id)
      guard let job = state.watchers.removeValue(forKey: id)?.job else { return }
      state.ofJob[job]?.remove(id)
      if state.ofJob[job]?.isEmpty == true { state.ofJob[job] = nil }
    }
  }

  /// Ends all streams.
  func closeAll() {
    let wakeups = state.withLock { $0.watchers.values.map(\.wakeup) }
    for wakeup in wakeups { wakeup.close() }
  }

  func publish(_ jobs: [Job]) {
    state.withLock { state in
      for id in state.ofMany { Self.tell(jobs, to: &state.watchers[id]) }
      guard !state.ofJob.isEmpty else { return }
      for job in jobs {
        for id in state.ofJob[job.id] ?? [] { Self.tell([job], to: &state.watchers[id]) }
      }
    }
  }

  private static func tell(_ jobs: [Job], to watcher: inout Watcher?) {
    guard watcher != nil else { return }
    var isNew = false
    for job in jobs where watcher?.matches(job) == true {
      isNew = true
      if watcher?.newest.updateValue(job, forKey: job.id) != nil {
        watcher?.skipped += 1
      } else if watcher?.newest.count ?? 0 > mostBehind {
        watcher?.newest[job.id] = nil
        watcher?.skipped += 1
      } else {
        watcher?.order.append(job.id)
      }
    }
    if isNew { watcher?.wakeup.set() }
  }

  /// What has come since; empty after a while in which nothing has. nil once closed.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  func next(for id: Int) async throws -> (jobs: [Job], skipped: Int)? {
    guard let wakeup = state.withLock({ $0.watchers[id]?.wakeup }) else { return nil }
    let heartbeat = Task {
      try await Task.sleep(for: Self.heartbeatInterval)
      wakeup.set()
    }
    defer { heartbeat.cancel() }
    if let taken = take(id) { return taken }
    guard await wakeup.wait() else {
      try Task.checkCancellation()
      return nil
    }
    return take(id) ?? ([], 0)
  }

  private func take(_ id: Int) -> (jobs: [Job], skipped: Int)? {
    state.withLock { state in
      guard var watcher = state.watchers[id], !watcher.newest.isEmpty else { return nil }
      var jobs: [Job] = []
      while let job = watcher.order.popFirst() {
        if let newest = watcher.newest.removeValue(forKey: job) { jobs.append(newest) }
      }
      let skipped = watcher.skipped
      watcher.skipped = 0
      state.watchers[id] = watcher
      return (jobs, skipped)
    }
  }
}
