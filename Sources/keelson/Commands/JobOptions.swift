import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// The options that commands about jobs share, and how their values are read.
enum JobOptions {
  static let queue = Command.Option(
    name: "queue", value: "QUEUE", help: "The queue.", defaultValue: "default")

  /// What a job can be given when it is created.
  static let definition: [Command.Option] = [
    queue,
    .init(
      name: "parameters", value: "JSON|@FILE", help: "What the handler gets, or a file of it."),
    .init(
      name: "priority", value: "N", help: "From -1000 to 1000; the higher goes first.",
      defaultValue: "0"),
    .init(
      name: "time-limit", value: "TIME", help: "How long an attempt may take: 30s, 5m or 2h."),
    .init(
      name: "retries", value: "N", help: "How often it runs again when it fails.",
      defaultValue: "3"),
    .init(
      name: "concurrency-key", value: "KEY",
      help: "Of its queue's jobs with this key only so many run at once as the queue says."),
    .init(name: "tag", value: "TAG", help: "A word to find it by.", isRepeatable: true),
  ]

  static func job(_ kind: String, _ invocation: Invocation) throws -> KeelsonJobsV1.Job {
    var job = KeelsonJobsV1.Job()
    job.kind = kind
    job.queue = invocation.option("queue") ?? ""
    if let text = try FlagOptions.rules("parameters", invocation), !text.isEmpty {
      job.parameters = .init(kind: .json(text))
    }
    job.priority = try invocation.integer("priority") ?? 0
    job.timeout = try duration("time-limit", invocation).map { .init($0) }
    if let retries = try invocation.integer("retries", as: Int32.self) {
      var policy = KeelsonJobsV1.RetryPolicy()
      policy.maximumRetries = retries
      job.retryPolicy = policy
    }
    job.concurrencyKey = invocation.option("concurrency-key") ?? ""
    job.tags = invocation.all("tag")
    return job
  }

  /// `500ms`, `30s`, `5m`, `2h` or `7d`.
  static func duration(_ name: String, _ invocation: Invocation) throws -> Duration? {
    guard let text = invocation.option(name) else { return nil }
    let units: [(String, Int64)] = [
      ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]
    for (unit, milliseconds) in units where text.hasSuffix(unit) {
      if let number = Int64(text.dropLast(unit.count)), number >= 0,
        number <= Int64.max / milliseconds
      {
        return .milliseconds(number * milliseconds)
      }
    }
    throw UsageError("--\(name) takes a time such as 30s, 5m, 2h or 7d, not '\(text)'.")
  }

  private static let states: [(name: String, state: KeelsonJobsV1.JobState)] = [
    ("scheduled", .scheduled), ("pending", .pending), ("running", .running),
    ("completed", .completed), ("failed", .failed), ("cancelled", .cancelled),
  ]

  static func name(of state: KeelsonJobsV1.JobState) -> String {
    states.first { $0.state == state }?.name ?? "\(state.rawValue)"
  }

  static let filter: [Command.Option] = [
    .init(
      name: "state", value: "STATE",
      help: "Only in this state: "
        + states.map(\.name).joined(separator: ", ") + ".", isRepeatable: true),
    .init(name: "queue", value: "QUEUE", help: "Only in this queue."),
    .init(name: "kind", value: "KIND", help: "Only of this kind."),
  ]

  static func filter(_ invocation: Invocation) throws -> KeelsonJobsV1.JobFilter {
    var filter = KeelsonJobsV1.JobFilter()
    filter.states = try invocation.all("state").map { name in
      guard let state = states.first(where: { $0.name == name }) else {
        throw UsageError("--state takes \(states.map(\.name).joined(separator: ", ")).")
      }
      return state.state
    }
    filter.queue = invocation.option("queue") ?? ""
    filter.kind = invocation.option("kind") ?? ""
    return filter
  }
}
