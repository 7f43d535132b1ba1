import KeelsonAPI
import KeelsonClient
import KeelsonCore
import Synchronization

/// `keelson jobs batch`: the jobs of a file, created many at a time and followed to their end.
enum JobsBatchCommand {
  static let command = Command(
    name: "batch", summary: "Create the jobs of a file, and wait for them if asked to",
    discussion: """
      Each line of the file is a job as JSON: {"kind": "mail", "parameters": {"to": "anna"}}, with \
      queue, priority, retries, time_limit, delay, at, tags, concurrency_key, unique_key and \
      unique_for where wanted; what a line leaves out the options say. All lines are read before \
      the first job is created. The jobs get a tag of their own, batch/ID, by which 'keelson jobs \
      list --tag' finds them. With --wait, a job that did not succeed is a failure.
      """,
    arguments: [.init(name: "FILE", help: "A file with a job in each line.")],
    options: JobOptions.definition + [
      .init(name: "kind", value: "KIND", help: "What there is to do, where a line does not say."),
      .init(name: "wait", help: "Wait for the end of all jobs, and show how far they are."),
    ] + Session.options
  ) { invocation in
    let tag = "batch/\(UUIDv7.make())"
    var template = try JobOptions.job(invocation.option("kind") ?? "", invocation)
    template.tags.append(tag)
    let file = BatchFile(path: invocation.argument("FILE"), template: template)
    let tally = BatchTally(waits: invocation.has("wait"))
    try await file.readJobs { tally.expect(in: $0.job?.queue ?? "") }
    guard tally.progress.total > 0 else {
      throw RPCError(.invalidArgument, "There is no job in \(file.path).")
    }
    try await Session.run(invocation) { session in
      try await session.requireServer()
      let display = BatchDisplay()
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await display.run { tally.progress } }
        defer {
          group.cancelAll()
          display.finish()
        }
        let run = BatchRun(file: file, tag: tag, tally: tally, jobs: session.client.jobs.service)
        if invocation.has("wait") {
          group.addTask { await run.follow() }
        }
        try await run.create()
        if invocation.has("wait") { try await run.wait() }
      }
      let progress = tally.progress
      try session.output.print(tally.json(tag: tag)) {
        progress.summary + tally.failures.map { "\n\($0)" }.joined()
      }
      guard !invocation.has("wait") || progress.failed + progress.cancelled == 0 else {
        throw RPCError(
          .aborted,
          "\(BatchProgress.grouped(progress.failed + progress.cancelled)) jobs did not succeed: "
            + "'keelson jobs list --tag \(tag)' shows them.")
      }
    }
  }
}

/// Creates the jobs of a file, and hears what becomes of them.
struct BatchRun: Sendable {
  /// Jobs and bytes of parameters of one call.
  private static let jobsPerCall = 500
  private static let bytesPerCall = 1 << 20
  /// How often a call is made again when the server is away for a moment.
  private static let retries = 10
  private static let retryDelay: Duration = .seconds(1)
  /// How long nothing may be heard before the jobs are looked up, at first and at most: what is told
  /// while nobody listens is not told again.
  private static let firstSilence: Duration = .seconds(5)
  private static let longestSilence: Duration = .seconds(60)

  let file: BatchFile
  let tag: String
  let tally: BatchTally
  let jobs: KeelsonJobsV1.JobsServiceClient

  /// Each job has an id before it is sent, so that a call which has to be repeated creates it once.
  func create() async throws {
    var requests: [KeelsonJobsV1.CreateJobRequest] = []
    var bytes = 0
    try await file.readJobs { given in
      var request = given
      request.job?.id = UUIDv7.make()
      let size = request.encoded().count
      if requests.count == Self.jobsPerCall || bytes + size > Self.bytesPerCall {
        try await send(requests)
        (requests, bytes) = ([], 0)
      }
      requests.append(request)
      bytes += size
    }
    try await send(requests)
  }

  private func send(_ requests: [KeelsonJobsV1.CreateJobRequest]) async throws {
    guard !requests.isEmpty else { return }
    let ids = requests.compactMap { $0.job?.id }
    // Before they are created: their end may be heard ahead of the answer.
    tally.expect(ids)
    for attempt in 1... {
      do {
        let answer = try await jobs.batchCreateJobs(.init(requests: requests))
        // One with an id of ours was created, though by a call before this one.
        let own = Set(answer.responses.compactMap { $0.job?.id })
        return tally.created(ids, others: ids.filter { !own.contains($0) })
      } catch let error as RPCError {
        guard error.code == .unavailable, attempt <= Self.retries else {
          throw RPCError(
            error.code,
            "\(error.message) \(BatchProgress.grouped(tally.progress.created)) jobs were created "
              + "before; they have the tag \(tag).")
        }
        try await Task.sleep(for: Self.retryDelay)
      }
    }
  }

  /// Waits until all jobs have ended.
  func wait() async throws {
    var silence = Self.firstSilence
    while !tally.isDone {
      if await tally.waitForNews(silence) {
        silence = Self.firstSilence
      } else {
        try await lookUp()
        silence = min(silence * 2, Self.longestSilence)
      }
    }
  }

  /// Hears what happens to jobs, until the task is cancelled.
  func follow() async {
    while !Task.isCancelled {
      do {
        var request = KeelsonJobsV1.WatchJobsRequest()
        request.filter = .init()
        request.filter?.queue = tally.onlyQueue ?? ""
        for try await response in jobs.watchJobs(request) {
          if let job = response.job { tally.saw(job) }
        }
      } catch {
        // The server is away; what it did meanwhile is looked up.
      }
      try? await Task.sleep(for: Self.retryDelay)
    }
  }

  private func lookUp() async throws {
    var request = KeelsonJobsV1.ListJobsRequest()
    request.filter = .init()
    request.filter?.tags = [tag]
    request.pageSize = 1_000
    repeat {
      do {
        let page = try await jobs.listJobs(request)
        for job in page.jobs { tally.saw(job) }
        request.pageToken = page.nextPageToken
      } catch let error as RPCError where error.code == .unavailable {
        try await Task.sleep(for: Self.retryDelay)
      }
    } while !request.pageToken.isEmpty && !tally.isDone
  }
}

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
      ("cancelled", progress.cancelled),
    ] {
      object[name] = .number(Double(number))
    }
    object["failures"] = .array(failures.map { .string($0) })
    return .object(object)
  }
}
