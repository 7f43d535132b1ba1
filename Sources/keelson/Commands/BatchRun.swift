import KeelsonAPI
import KeelsonCore

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
    var lines: [Int] = []
    var bytes = 0
    try await file.readJobs { given, line in
      var request = given
      request.job?.id = UUIDv7.make()
      let size = request.encoded().count
      if requests.count == Self.jobsPerCall || bytes + size > Self.bytesPerCall {
        try await send(requests, of: lines)
        (requests, lines, bytes) = ([], [], 0)
      }
      requests.append(request)
      lines.append(line)
      bytes += size
    }
    try await send(requests, of: lines)
    let progress = tally.progress
    guard progress.created + progress.existing == progress.total else {
      throw RPCError(
        .aborted,
        "\(file.path) has changed while it was read: it had \(BatchProgress.grouped(progress.total)) "
          + "jobs, and \(BatchProgress.grouped(progress.created)) were created, with the tag "
          + "\(tag). Find out which are missing or too many before it is given again.")
    }
  }

  /// - Parameter lines: the number of each request's line.
  private func send(_ requests: [KeelsonJobsV1.CreateJobRequest], of lines: [Int]) async throws {
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
        guard Self.mayPass(error), attempt <= Self.retries else {
          throw RPCError(
            error.code,
            "\(place(of: error, in: lines)): \(error.message) \(BatchProgress.grouped(tally.progress.created)) jobs were created "
              + "before; they have the tag \(tag).")
        }
        try await Task.sleep(for: Self.retryDelay)
      }
    }
  }

  private static func mayPass(_ error: RPCError) -> Bool {
    error.code == .unavailable || error.code == .deadlineExceeded
  }

  /// The line that the server complains of, or those of the call when it names none.
  private func place(of error: RPCError, in lines: [Int]) -> String {
    if let match = error.message.firstMatch(of: /requests\[([0-9]+)\]/), let index = Int(match.1),
      lines.indices.contains(index)
    {
      return "Line \(lines[index]) of \(file.path)"
    }
    return "Lines \(lines.first ?? 0) to \(lines.last ?? 0) of \(file.path)"
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

  /// Reads how all jobs stand. One that is not there any more was removed.
  private func lookUp() async throws {
    var missing = tally.openIDs
    var request = KeelsonJobsV1.ListJobsRequest()
    request.filter = .init()
    request.filter?.tags = [tag]
    request.pageSize = 1_000
    while !tally.isDone {
      do {
        let page = try await jobs.listJobs(request)
        for job in page.jobs {
          missing.remove(job.id)
          tally.saw(job)
        }
        guard !page.nextPageToken.isEmpty else { return tally.lost(missing) }
        request.pageToken = page.nextPageToken
      } catch let error as RPCError where Self.mayPass(error) {
        try await Task.sleep(for: Self.retryDelay)
      }
    }
  }
}
