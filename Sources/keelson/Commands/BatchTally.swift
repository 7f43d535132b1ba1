import KeelsonAPI
import KeelsonCore
import Synchronization

/// Counts what becomes of the jobs of a batch.
final class BatchTally: Sendable {
  /// Ids of jobs that did not succeed that are told.
  private static let maximumFailures = 20

  private struct State {
    var progress: BatchProgress
    /// Where each job stands that has not ended.
    var open: [String: KeelsonJobsV1.JobState] = [:]
    var failures: [String] = []
    var queues: Set<String> = []
    /// Whether all are created.
    var isComplete: Bool { progress.created + progress.existing == progress.total }
  }

  private let state: Mutex<State>
  private let news = Wakeup()

  init(waits: Bool) {
    var progress = BatchProgress()
    progress.waits = waits
    state = Mutex(State(progress: progress))
  }

  var progress: BatchProgress { state.withLock { $0.progress } }
  var isDone: Bool { state.withLock { $0.isComplete && $0.open.isEmpty } }
  /// Ids of jobs that did not succeed, and how they ended: some of them.
  var failures: [String] { state.withLock { $0.failures } }

  /// One job more is to be created, in this queue.
  func expect(in queue: String) {
    state.withLock { state in
      state.progress.total += 1
      // More than one are all the same here.
      if state.queues.count < 2 { state.queues.insert(queue) }
    }
  }

  /// The queue of all the jobs; nil when they are in several.
  var onlyQueue: String? {
    state.withLock { $0.queues.count == 1 ? $0.queues.first : nil }
  }

  func expect(_ ids: [String]) {
    state.withLock { state in
      guard state.progress.waits else { return }
      for id in ids { state.open[id] = .pending }
    }
  }

  /// - Parameter others: ids under which nothing was created, since another job is there already.
  func created(_ ids: [String], others: [String]) {
    state.withLock { state in
      state.progress.created += ids.count - others.count
      state.progress.existing += others.count
      for id in others { state.open[id] = nil }
    }
    news.set()
  }

  func saw(_ job: KeelsonJobsV1.Job) {
    let isOurs = state.withLock { state in
      guard let before = state.open[job.id] else { return false }
      if before == .running { state.progress.running -= 1 }
      if job.state == .running { state.progress.running += 1 }
      switch job.state {
      case .completed: state.progress.completed += 1
      case .failed: state.progress.failed += 1
      case .cancelled: state.progress.cancelled += 1
      default:
        state.open[job.id] = job.state
        return true
      }
      state.open[job.id] = nil
      if job.state != .completed, state.failures.count < Self.maximumFailures {
        state.failures.append("\(job.id) \(JobOptions.name(of: job.state))")
      }
      return true
    }
    if isOurs { news.set() }
  }

  /// The ids of jobs that have not ended, as far as is known.
  var openIDs: Set<String> { state.withLock { Set($0.open.keys) } }

  /// The server has these jobs no longer: what became of them nobody heard.
  func lost(_ ids: Set<String>) {
    state.withLock { state in
      for id in ids.sorted() {
        guard let before = state.open.removeValue(forKey: id) else { continue }
        if before == .running { state.progress.running -= 1 }
        state.progress.gone += 1
        if state.failures.count < Self.maximumFailures { state.failures.append("\(id) gone") }
      }
    }
    if !ids.isEmpty { news.set() }
  }

  /// - Returns: whether there was any within the time.
  func waitForNews(_ time: Duration) async -> Bool {
    await withTaskGroup(of: Bool.self) { group in
      group.addTask { await self.news.wait() }
      group.addTask {
        try? await Task.sleep(for: time)
        return false
      }
      defer { group.cancelAll() }
      return await group.next() ?? false
    }
  }

  func json(tag: String) -> JSONValue {
    let progress = progress
    var object: [String: JSONValue] = ["tag": .string(tag)]
    for (name, number) in [
      ("created", progress.created), ("existing", progress.existing),
      ("completed", progress.completed), ("failed", progress.failed),
      ("cancelled", progress.cancelled), ("gone", progress.gone),
    ] {
      object[name] = .number(Double(number))
    }
    object["failures"] = .array(failures.map { .string($0) })
    return .object(object)
  }
}
