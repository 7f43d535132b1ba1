import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// Jobs that one transaction moved one by one: what is to be written and told of them.
struct Moved {
  private var byID: [JobID: StoredJob] = [:]
  private(set) var jobs: [StoredJob] = []
  private(set) var attempts: [SQLStatement] = []
  private var news: [(event: JobEvent, news: JobNews)] = []

  var isEmpty: Bool { jobs.isEmpty }

  /// A job as this transaction has left it.
  func job(_ id: JobID, in transaction: any Transaction) async throws -> StoredJob? {
    if let job = byID[id] { return job }
    return try await JobRepository.job(id, in: transaction)
  }

  /// - Parameter outcome: how its attempt ended; nil when none did.
  mutating func add(
    _ job: StoredJob, before: StoredJob, outcome: KeelsonJobsV1.AttemptOutcome?, error: String,
    progress: KeelsonJobsV1.JobProgress? = nil, at time: UnixTime
  ) {
    byID[job.id] = job
    jobs.append(job)
    if let outcome {
      var attempt = KeelsonJobsV1.JobAttempt()
      attempt.attempt = Int32(clamping: before.lifecycle.attempt)
      attempt.worker = before.worker
      attempt.startTime = before.startTime.map { .init($0) }
      attempt.endTime = .init(time)
      attempt.outcome = outcome
      attempt.error = error
      if let progress, progress.lease?.attempt == attempt.attempt { attempt.logs = progress.logs }
      attempts.append(AttemptRepository.put(attempt, of: job.id))
    }
    var told = JobNews(job, error: error)
    // Whose lease has ended.
    told.session = before.session
    let event: JobEvent =
      switch (job.lifecycle.state, outcome) {
      case (.cancelled, _): .cancelled
      case (.completed, _): .executed
      case (_, .failed), (_, .leaseExpired), (_, .timedOut): .failed
      default: .statusChanged
      }
    news.append((event, told))
  }

  func emit(in change: Change) {
    for (event, news) in Dictionary(grouping: news, by: \.event)
      .sorted(by: { $0.key.rawValue < $1.key.rawValue })
    {
      change.emit(event, news.map(\.news))
    }
  }
}
