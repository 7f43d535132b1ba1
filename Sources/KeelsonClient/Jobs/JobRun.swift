import KeelsonAPI
public import KeelsonCore

/// One attempt of a job, as its handler sees it.
public struct JobRun: Sendable {
  /// The attempt whose handler the current task is, if it is one.
  @TaskLocal public static var current: JobRun?

  /// The job's id.
  public let id: String
  /// From 1.
  public let attempt: Int
  /// Attempts that are left should this one fail.
  public let attemptsLeft: Int
  public let kind: String
  public let queue: String
  public let tags: [String]
  /// The correlation id of the call that created the job.
  public let correlationID: String
  /// When the job was created.
  public let createTime: UnixTime?
  /// How long the attempt may take; nil for no limit.
  public let timeout: Duration?

  private let lease: KeelsonJobsV1.LeaseID?
  private let send: @Sendable (KeelsonJobsV1.JobProgress) -> Void

  init(
    _ job: KeelsonJobsV1.LeasedJob,
    send: @escaping @Sendable (KeelsonJobsV1.JobProgress) -> Void
  ) {
    id = job.lease?.jobId ?? ""
    attempt = Int(job.lease?.attempt ?? 0)
    attemptsLeft = Int(job.attemptsLeft)
    kind = job.kind
    queue = job.queue
    tags = job.tags
    correlationID = job.correlationId
    createTime = job.createTime.flatMap { try? $0.unixTime }
    timeout = job.timeout?.clampedDuration
    lease = job.lease
    self.send = send
  }

  /// Bytes of a line and of a message that the server keeps. Longer ones are cut before they are
  /// sent, so that no handler fills the stream.
  private static let textBytes = 1_024

  /// Says how far the job is, for whoever watches it.
  ///
  /// - Parameters:
  ///   - progress: from 0 to 1.
  ///   - message: what it does now, cut to 1 KiB.
  public func report(_ progress: Double, _ message: String = "") {
    var told = KeelsonJobsV1.JobProgress()
    told.lease = lease
    told.progress = min(max(0, progress), 1)
    told.message = message.cut(toBytes: Self.textBytes)
    send(told)
  }

  /// Adds a line to the attempt's log, cut to 1 KiB. The newest 100 are kept.
  public func log(_ text: String) {
    var told = KeelsonJobsV1.JobProgress()
    told.lease = lease
    told.progress = -1
    var line = KeelsonJobsV1.JobLogLine()
    line.time = .init(UnixTime.now)
    line.text = text.cut(toBytes: Self.textBytes)
    told.logs = [line]
    send(told)
  }
}
