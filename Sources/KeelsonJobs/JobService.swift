package import KeelsonAPI
package import KeelsonCore
import KeelsonJobRules
package import KeelsonStore

/// `keelson.jobs.v1.JobsService`. Source: SYS-116 to SYS-120.
package final class JobService: KeelsonJobsV1.JobsServiceHandler {
  package typealias API = KeelsonJobsV1

  let database: any Database
  let limits: JobLimits
  let validation: JobValidation
  let engine: JobEngine
  let dispatcher: JobDispatcher
  let watches: JobWatches
  let inbox: JobInbox
  /// How the jobs are.
  package let healthCheck: JobHealthCheck
  let zones = TimeZoneDatabase()
  let logger: Logger

  package init(database: any Database, limits: JobLimits = JobLimits(), logger: Logger) {
    self.database = database
    self.limits = limits
    self.logger = logger
    validation = JobValidation(limits: limits)
    engine = JobEngine(database: database, limits: limits, logger: logger)
    watches = JobWatches(limits: limits)
    dispatcher = JobDispatcher(
      engine: engine, limits: limits, watches: watches, zones: zones, logger: logger)
    inbox = JobInbox(
      engine: engine, dispatcher: dispatcher, validation: validation, limits: limits,
      logger: logger)
    healthCheck = JobHealthCheck(
      engine: engine, dispatcher: dispatcher, limits: limits, logger: logger)
  }

  // MARK: Life

  /// Learns where jobs wait, and follows them from then on. Called once, before the first call.
  ///
  /// - Throws: `StoreError` when the database cannot be read.
  package func start() async throws {
    let counts = try await database.feed.follow { transaction in
      try await QueueRepository.counts(in: transaction)
    } taking: { [dispatcher] counts in
      dispatcher.start(
        at: counts.filter { $0.state == .pending }.map { .init(queue: $0.queue, kind: $0.kind) })
      return counts
    } _: { [dispatcher] events in
      dispatcher.observe(events)
    } onEnd: { [watches] in
      watches.closeAll()
    }
    let waiting = counts.filter { !$0.state.hasEnded }.reduce(0) { $0 + $1.number }
    logger.log(.info, "Loaded the queues.", ["waiting": "\(waiting)"])
    try await inbox.start()
  }

  /// Hands out jobs until the task is cancelled.
  package func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.dispatcher.run() }
      group.addTask { await self.inbox.run() }
    }
  }

  /// For Prometheus: what this server has done, and how the jobs stood at the last check.
  package var metricFamilies: [MetricFamily] {
    healthCheck.metricFamilies(queues: limits.queuesInMetrics)
  }

  /// Hands out no more, and tells the workers to go elsewhere.
  package func stop() {
    dispatcher.stop()
    watches.closeAll()
  }

  func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    try await mapped { try await self.database.read(body) }
  }

  /// One table from the store's errors to the API's.
  func mapped<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
      return try await body()
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }
}

// MARK: Jobs

extension JobService {
  package func createJob(
    _ request: API.CreateJobRequest, context: ServerContext
  ) async throws -> API.CreateJobResponse {
    let new = try newJob(request, field: "job")
    let created = try await mapped {
      try await engine.create([new], origin: ChangeOrigin(context), whenWritten: dispatcher.expect)
    }
    var response = API.CreateJobResponse()
    response.job = created.first?.job.message
    response.existing = created.first?.isExisting ?? false
    return response
  }

  package func batchCreateJobs(
    _ request: API.BatchCreateJobsRequest, context: ServerContext
  ) async throws -> API.BatchCreateJobsResponse {
    guard (1...limits.jobsPerBatch).contains(request.requests.count) else {
      throw RPCError.invalidArgument(
        field: "requests",
        "has \(request.requests.count) jobs; 1 to \(limits.jobsPerBatch) are allowed")
    }
    let new = try request.requests.enumerated().map {
      try newJob($1, field: "requests[\($0)].job")
    }
    let created = try await mapped {
      try await engine.create(new, origin: ChangeOrigin(context), whenWritten: dispatcher.expect)
    }
    var response = API.BatchCreateJobsResponse()
    response.responses = created.map { created in
      var one = API.CreateJobResponse()
      var job = JobNews(created.job).message
      job.createTime = .init(created.job.createTime)
      one.job = job
      one.existing = created.isExisting
      return one
    }
    return response
  }

  private func newJob(_ request: API.CreateJobRequest, field: String) throws -> JobEngine.NewJob {
    guard let given = request.job else {
      throw RPCError.invalidArgument(field: field, "is required")
    }
    var new = JobEngine.NewJob(job: try validation.checked(given, field: field))
    if !given.id.isEmpty { new.id = try JobValidation.id(given.id, field: "\(field).id") }
    if let time = given.runTime { new.runTime = try time.unixTime }
    if let delay = request.delay {
      guard new.runTime == nil else {
        throw RPCError.invalidArgument(
          field: "delay", "may not be given together with \(field).run_time")
      }
      let duration = try delay.duration
      guard duration >= .zero else {
        throw RPCError.invalidArgument(field: "delay", "\(duration) is negative")
      }
      new.delay = duration
    }
    return new
  }

  package func getJob(_ request: API.GetJobRequest, context: ServerContext) async throws -> API.Job
  {
    let id = try JobValidation.id(request.id)
    let limit = limits.attemptsShown
    let (job, attempts, progress) = try await read { transaction in
      guard let job = try await JobRepository.job(id, in: transaction) else {
        throw JobEngine.noJob(id)
      }
      return (
        job, try await AttemptRepository.newest(of: id, limit: limit, in: transaction),
        try await ProgressRepository.progress(of: id, in: transaction)
      )
    }
    var message = job.message
    message.attempts = attempts
    if let newest = job.newestAttempt, attempts.last?.attempt != newest.attempt {
      message.attempts.append(newest)
    }
    if let progress, let attempt = progress.lease?.attempt {
      if attempt == message.attempt {
        message.progress = max(0, progress.progress)
        message.progressMessage = progress.message
      }
      if let index = message.attempts.lastIndex(where: { $0.attempt == attempt }) {
        message.attempts[index].logs = progress.logs
      }
    }
    if job.lifecycle.state == .pending,
      !dispatcher.hasWorker(for: .init(queue: job.queue, kind: job.kind))
    {
      message.stateMessage =
        "No worker that is connected to this server runs '\(job.kind)' in queue '\(job.queue)'."
    }
    return message
  }

  package func cancelJob(
    _ request: API.CancelJobRequest, context: ServerContext
  ) async throws -> API.Job {
    let id = try JobValidation.id(request.id)
    if let grace = request.grace,
      let problem = validation.durationProblem(grace, from: .zero, to: limits.maximumGrace)
    {
      throw RPCError.invalidArgument(field: "grace", problem)
    }
    if let problem = validation.reasonProblem(request.reason) {
      throw RPCError.invalidArgument(field: "reason", problem)
    }
    return try await mapped {
      try await engine.cancel(
        id, grace: request.grace?.clampedDuration ?? limits.defaultGrace,
        reason: request.reason, origin: ChangeOrigin(context)
      ).message
    }
  }

  package func retryJob(
    _ request: API.RetryJobRequest, context: ServerContext
  ) async throws -> API.Job {
    let id = try JobValidation.id(request.id)
    return try await mapped {
      try await engine.retry(id, origin: ChangeOrigin(context)).message
    }
  }

  package func deleteJob(
    _ request: API.DeleteJobRequest, context: ServerContext
  ) async throws -> API.DeleteJobResponse {
    let id = try JobValidation.id(request.id)
    try await mapped { try await engine.delete(id, origin: ChangeOrigin(context)) }
    return API.DeleteJobResponse()
  }

  package func pruneJobs(
    _ request: API.PruneJobsRequest, context: ServerContext
  ) async throws -> API.PruneJobsResponse {
    let removed = try await mapped { try await engine.pruneAll(origin: ChangeOrigin(context)) }
    var response = API.PruneJobsResponse()
    response.removed = Int64(removed)
    return response
  }

  package func reprioritizeJob(
    _ request: API.ReprioritizeJobRequest, context: ServerContext
  ) async throws -> API.Job {
    let id = try JobValidation.id(request.id)
    guard abs(Int(request.priority)) <= limits.priority else {
      throw RPCError.invalidArgument(
        field: "priority",
        "\(request.priority) is not from -\(limits.priority) to \(limits.priority)")
    }
    return try await mapped {
      try await engine.reprioritize(
        id, to: Int(request.priority), origin: ChangeOrigin(context)
      ).message
    }
  }
}
