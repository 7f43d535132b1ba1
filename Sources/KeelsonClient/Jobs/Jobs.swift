import FoundationEssentials
public import KeelsonAPI
public import KeelsonCore

/// Jobs: creating them, and following what becomes of them. ``JobWorker`` runs them.
///
/// ```swift
/// let job = try await keelson.jobs.create("send-mail", Mail(to: "anna@example.com"))
/// let done = try await keelson.jobs.wait(for: job.id)
/// ```
public struct Jobs: Sendable {
  public typealias Job = KeelsonJobsV1.Job

  /// Every call of the service as it is, for what is not below.
  public let service: KeelsonJobsV1.JobsServiceClient

  init(channel: any Channel) {
    service = KeelsonJobsV1.JobsServiceClient(channel: channel)
  }

  /// Creates a job. It has an id before it is sent, so that a call which has to be repeated
  /// creates it once.
  ///
  /// - Parameters:
  ///   - parameters: what the handler gets, as JSON.
  ///   - configure: sets what else there is to say: queue, priority, retry policy, tags.
  /// - Returns: the job, or the one that holds its unique key.
  /// - Throws: ``RPCError``: INVALID_ARGUMENT names the fields that are wrong. `EncodingError`.
  @discardableResult
  public func create(
    _ kind: String, _ parameters: some Encodable & Sendable, after delay: Duration? = nil,
    options: CallOptions = CallOptions(), _ configure: (inout Job) -> Void = { _ in }
  ) async throws -> Job {
    var request = KeelsonJobsV1.CreateJobRequest()
    var job = Job()
    job.id = UUIDv7.make()
    job.kind = kind
    job.parameters = .init(
      kind: .json(String(decoding: try JSONEncoder().encode(parameters), as: UTF8.self)))
    configure(&job)
    request.job = job
    request.delay = delay.map { .init($0) }
    return try await service.createJob(request, options: options).job ?? job
  }

  /// A job as it stands.
  public func get(_ id: String, options: CallOptions = CallOptions()) async throws -> Job {
    try await service.getJob(.init(id: id), options: options)
  }

  /// Waits until a job has ended, however.
  ///
  /// - Throws: ``RPCError``: NOT_FOUND; `CancellationError`.
  public func wait(for id: String) async throws -> Job {
    while true {
      do {
        var last: Job?
        for try await response in service.watchJobs(.init(id: id)) {
          if let job = response.job { last = job }
        }
        if let last, last.state != .scheduled, last.state != .pending, last.state != .running {
          return last
        }
      } catch let error as RPCError where error.code == .unavailable {
        // The server is away for a moment.
      }
      try await Task.sleep(for: .milliseconds(200))
    }
  }

  /// Calls a job off. One that runs gets a grace time to break off.
  @discardableResult
  public func cancel(
    _ id: String, grace: Duration? = nil, reason: String = "",
    options: CallOptions = CallOptions()
  ) async throws -> Job {
    var request = KeelsonJobsV1.CancelJobRequest()
    request.id = id
    request.grace = grace.map { .init($0) }
    request.reason = reason
    return try await service.cancelJob(request, options: options)
  }
}
