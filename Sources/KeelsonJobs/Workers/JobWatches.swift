import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization

/// Who watches jobs on this server. A watcher that is slow gets the newest state of each job.
final class JobWatches: Sendable {
  typealias Job = KeelsonJobsV1.Job

  private struct Watcher {
    let matches: @Sendable (Job) -> Bool
    let wakeup: Wakeup
    var order = Deque<String>()
    var newest: [String: Job] = [:]
    var skipped = 0
    var isClosed = false
  }

  private let limits: JobLimits
  private let watchers = Mutex<[Int: Watcher]>([:])
  private let nextID = Atomic(0)
  /// Jobs that one watcher may be behind by.
  private static let mostBehind = 10_000
  private static let heartbeatInterval: Duration = .seconds(20)

  init(limits: JobLimits) {
    self.limits = limits
  }

  func open(_ matches: @escaping @Sendable (Job) -> Bool) throws -> Int {
    let id = nextID.add(1, ordering: .relaxed).newValue
    try watchers.withLock { watchers in
      guard watchers.count < limits.watches else {
        throw RPCError(
          .resourceExhausted, "\(limits.watches) streams watch jobs, the most that may.")
      }
      watchers[id] = Watcher(matches: matches, wakeup: Wakeup())
    }
    return id
  }

  func close(_ id: Int) {
    watchers.withLock { $0[id] = nil }
  }

  /// Ends all streams.
  func closeAll() {
    let wakeups = watchers.withLock { watchers in
      for id in watchers.keys { watchers[id]?.isClosed = true }
      return watchers.values.map(\.wakeup)
    }
    for wakeup in wakeups { wakeup.close() }
  }

  func publish(_ jobs: [Job]) {
    watchers.withLock { watchers in
      for id in watchers.keys {
        guard var watcher = watchers.removeValue(forKey: id) else { continue }
        var isNew = false
        for job in jobs where watcher.matches(job) {
          isNew = true
          if watcher.newest.updateValue(job, forKey: job.id) != nil {
            watcher.skipped += 1
          } else if watcher.newest.count > Self.mostBehind {
            watcher.newest[job.id] = nil
            watcher.skipped += 1
          } else {
            watcher.order.append(job.id)
          }
        }
        if isNew { watcher.wakeup.set() }
        watchers[id] = watcher
      }
    }
  }

  /// What has come since; empty after a while in which nothing has. nil once closed.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  func next(for id: Int) async throws -> (jobs: [Job], skipped: Int)? {
    guard let wakeup = watchers.withLock({ $0[id]?.wakeup }) else { return nil }
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
    watchers.withLock { watchers in
      guard var watcher = watchers.removeValue(forKey: id) else { return nil }
      defer { watchers[id] = watcher }
      var jobs: [Job] = []
      while let job = watcher.order.popFirst() {
        if let newest = watcher.newest.removeValue(forKey: job) { jobs.append(newest) }
      }
      defer { watcher.skipped = 0 }
      return jobs.isEmpty ? nil : (jobs, watcher.skipped)
    }
  }
}
