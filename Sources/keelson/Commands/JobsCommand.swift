import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson jobs`: the commands that create jobs, find them and change them.
enum JobsCommand {
  static let command = Command(
    name: "jobs", summary: "Create jobs, find them, call them off, follow them",
    subcommands: [
      create, JobsBatchCommand.command, list, get, cancel, retry, delete, prioritize, watch,
      workers,
    ])

  private static let id = Command.Argument(name: "ID", help: "The job's id.")

  private static let create = Command(
    name: "create", summary: "Create a job",
    arguments: [.init(name: "KIND", help: "What there is to do; workers say what they can.")],
    options: JobOptions.definition + [
      .init(name: "delay", value: "TIME", help: "How long it waits: 30s, 5m, 2h or 7d."),
      .init(
        name: "at", value: "TIME", help: "When it runs, 2027-01-31T00:00:00Z for example."),
      .init(
        name: "unique-key", value: "KEY",
        help: "While a job of this kind has this key, no other is created."),
      .init(
        name: "unique-for", value: "TIME",
        help: "How long it has the key; until its end when not given."),
      .init(name: "wait", help: "Wait for its end; a job that did not succeed is a failure."),
    ] + Session.options
  ) { invocation in
    var request = KeelsonJobsV1.CreateJobRequest()
    var job = try JobOptions.job(invocation.argument("KIND"), invocation)
    job.id = UUIDv7.make()
    job.runTime = try FlagOptions.time("at", invocation)
    if let key = invocation.option("unique-key") {
      var unique = KeelsonJobsV1.UniqueKey()
      unique.key = key
      unique.window = try JobOptions.duration("unique-for", invocation).map { .init($0) }
      job.uniqueKey = unique
    } else if invocation.has("unique-for") {
      throw UsageError("--unique-for needs --unique-key.")
    }
    request.job = job
    request.delay = try JobOptions.duration("delay", invocation).map { .init($0) }
    try await Session.run(invocation) { [request] session in
      let answer = try await session.client.jobs.service.createJob(request)
      guard invocation.has("wait"), let id = answer.job?.id else {
        return try session.output.print(answer) { answer.text }
      }
      let ended = try await session.client.jobs.wait(for: id)
      let full = try await session.client.jobs.get(ended.id)
      try session.output.print(full) { full.sheet }
      guard full.state == .completed else {
        throw RPCError(.aborted, "The job has \(JobOptions.name(of: full.state)).")
      }
    }
  }

  private static let list = Command(
    name: "list", summary: "List jobs, newest first",
    options: JobOptions.filter + [
      .init(name: "tag", value: "TAG", help: "Only with this tag.", isRepeatable: true),
      .init(name: "schedule", value: "NAME", help: "Only those of this schedule."),
      .init(
        name: "from", value: "TIME",
        help: "Only created at or after this time, 2027-01-31T00:00:00Z for example."),
      .init(name: "to", value: "TIME", help: "Only created before this time."),
      .init(name: "page-size", value: "N", help: "Show at most N.", defaultValue: "100"),
      FlagOptions.pageToken,
    ] + Session.options
  ) { invocation in
    var filter = try JobOptions.filter(invocation)
    filter.tags = invocation.all("tag")
    filter.schedule = invocation.option("schedule") ?? ""
    filter.createdSince = try FlagOptions.time("from", invocation)
    filter.createdBefore = try FlagOptions.time("to", invocation)
    var request = KeelsonJobsV1.ListJobsRequest()
    request.filter = filter
    request.pageSize = try invocation.integer("page-size") ?? 0
    request.pageToken = invocation.option("page-token") ?? ""
    try await Session.run(invocation) { [request] session in
      let answer = try await session.client.jobs.service.listJobs(request)
      try session.output.print(answer) { answer.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show one job and its attempts", arguments: [id],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let job = try await session.client.jobs.get(invocation.argument("ID"))
      try session.output.print(job) { job.sheet }
    }
  }

  private static let cancel = Command(
    name: "cancel", summary: "Call a job off", arguments: [id],
    options: [
      .init(
        name: "grace", value: "TIME", help: "How long its worker may take to break off.",
        defaultValue: "30s"),
      .init(name: "reason", value: "TEXT", help: "Why, for the audit trail."),
    ] + Session.options
  ) { invocation in
    let grace = try JobOptions.duration("grace", invocation)
    try await Session.run(invocation) { session in
      let job = try await session.client.jobs.cancel(
        invocation.argument("ID"), grace: grace, reason: invocation.option("reason") ?? "")
      try session.output.print(job) { job.sheet }
    }
  }

  private static let retry = Command(
    name: "retry", summary: "Let a job that has ended run again", arguments: [id],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let job = try await session.client.jobs.service.retryJob(
        .init(id: invocation.argument("ID")))
      try session.output.print(job) { job.sheet }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Remove a job that has ended", arguments: [id],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.jobs.service.deleteJob(
        .init(id: invocation.argument("ID")))
      try session.output.print(answer) { "Removed job \(invocation.argument("ID"))." }
    }
  }

  private static let prioritize = Command(
    name: "prioritize", summary: "Give a job that waits another priority",
    arguments: [
      id, .init(name: "PRIORITY", help: "From -1000 to 1000; write -- ahead of a minus."),
    ],
    options: Session.options
  ) { invocation in
    let text = invocation.argument("PRIORITY")
    guard let priority = Int32(text) else {
      throw UsageError("PRIORITY is a whole number, not '\(text)'.")
    }
    try await Session.run(invocation) { session in
      var request = KeelsonJobsV1.ReprioritizeJobRequest()
      request.id = invocation.argument("ID")
      request.priority = priority
      let job = try await session.client.jobs.service.reprioritizeJob(request)
      try session.output.print(job) { job.sheet }
    }
  }

  private static let watch = Command(
    name: "watch", summary: "Show what happens to jobs, until Ctrl-C",
    discussion: "With an id: what happens to that job, until it has ended.",
    options: [.init(name: "id", value: "ID", help: "One job, until its end.")]
      + JobOptions.filter + Session.options
  ) { invocation in
    var request = KeelsonJobsV1.WatchJobsRequest()
    request.id = invocation.option("id") ?? ""
    request.filter = try JobOptions.filter(invocation)
    try await Session.run(invocation) { [request] session in
      try await session.untilInterrupted {
        for try await response in session.client.jobs.service.watchJobs(request) {
          if response.skipped > 0 {
            Output.note("\(response.skipped) states of jobs were passed over here.")
          }
          guard let job = response.job else { continue }
          try session.output.print(job) { job.line }
        }
      }
    }
  }

  private static let workers = Command(
    name: "workers", summary: "List the workers that are connected to this server",
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonJobsV1.ListWorkersRequest()
      var all = KeelsonJobsV1.ListWorkersResponse()
      repeat {
        let page = try await session.client.jobs.service.listWorkers(request)
        all.workers += page.workers
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(all) { [all] in all.table }
    }
  }
}
