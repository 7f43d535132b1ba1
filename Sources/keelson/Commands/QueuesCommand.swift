import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson queues`: the commands about queues and their limits.
enum QueuesCommand {
  static let command = Command(
    name: "queues", summary: "Show queues, limit and pause them",
    subcommands: [list, get, limit, pause, resume])

  private static let name = Command.Argument(name: "QUEUE", help: "The queue's name.")

  private static let list = Command(
    name: "list", summary: "List the queues with how they stand", options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonJobsV1.ListQueuesRequest()
      var all = KeelsonJobsV1.ListQueuesResponse()
      repeat {
        let page = try await session.client.jobs.service.listQueues(request)
        all.queues += page.queues
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(all) { [all] in all.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show one queue", arguments: [name], options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let queue = try await session.client.jobs.service.getQueue(
        .init(name: invocation.argument("QUEUE")))
      try session.output.print(queue) { queue.sheet }
    }
  }

  private static let limit = Command(
    name: "limit", summary: "Change what a queue keeps to",
    discussion: "0 takes a limit away. What is not given stays as it is.",
    arguments: [name],
    options: [
      .init(name: "concurrency", value: "N", help: "Jobs that run at the same time."),
      .init(
        name: "concurrency-per-key", value: "N",
        help: "Jobs with the same concurrency key that run at the same time."),
      .init(name: "rate", value: "N", help: "Jobs begun within the rate period."),
      .init(name: "rate-period", value: "TIME", help: "1s when not given."),
      .init(name: "depth", value: "N", help: "Jobs that wait; further ones are refused."),
      .init(
        name: "keep", value: "TIME",
        help: "How long jobs are kept that were completed or called off: 7d for example."),
      .init(name: "keep-failed", value: "TIME", help: "How long jobs are kept that failed."),
    ] + Session.options
  ) { invocation in
    var limits = KeelsonJobsV1.QueueLimits()
    limits.concurrency = try invocation.integer("concurrency") ?? 0
    limits.concurrencyPerKey = try invocation.integer("concurrency-per-key") ?? 0
    limits.rate = try invocation.integer("rate") ?? 0
    limits.ratePeriod = try JobOptions.duration("rate-period", invocation).map { .init($0) }
    limits.depth = try invocation.integer("depth") ?? 0
    limits.keepEnded = try JobOptions.duration("keep", invocation).map { .init($0) }
    limits.keepFailed = try JobOptions.duration("keep-failed", invocation).map { .init($0) }
    let fields = [
      ("concurrency", "concurrency"), ("concurrency-per-key", "concurrency_per_key"),
      ("rate", "rate"), ("rate-period", "rate_period"), ("depth", "depth"),
      ("keep", "keep_ended"), ("keep-failed", "keep_failed"),
    ].filter { invocation.has($0.0) }.map(\.1)
    guard !fields.isEmpty else {
      throw UsageError("Nothing to change: give --concurrency, --rate or another option.")
    }
    var request = KeelsonJobsV1.UpdateQueueRequest()
    var queue = KeelsonJobsV1.Queue()
    queue.name = invocation.argument("QUEUE")
    queue.limits = limits
    request.queue = queue
    request.updateMask = .init(paths: fields)
    try await Session.run(invocation) { [request] session in
      let queue = try await session.client.jobs.service.updateQueue(request)
      try session.output.print(queue) { queue.sheet }
    }
  }

  private static let pause = Command(
    name: "pause", summary: "Hand out no more jobs of a queue", arguments: [name],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let queue = try await session.client.jobs.service.pauseQueue(
        .init(name: invocation.argument("QUEUE")))
      try session.output.print(queue) { queue.sheet }
    }
  }

  private static let resume = Command(
    name: "resume", summary: "Hand out jobs of a queue again", arguments: [name],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let queue = try await session.client.jobs.service.resumeQueue(
        .init(name: invocation.argument("QUEUE")))
      try session.output.print(queue) { queue.sheet }
    }
  }
}
