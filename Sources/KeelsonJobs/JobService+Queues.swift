package import KeelsonAPI
package import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobService {
  package func listQueues(
    _ request: API.ListQueuesRequest, context: ServerContext
  ) async throws -> API.ListQueuesResponse {
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: [], limits: limits.pages)
    let queues = try await read { transaction in
      var queues: [API.Queue] = []
      for name in try await QueueRepository.names(
        after: page.after, limit: page.size + 1, in: transaction)
      {
        if let queue = try await self.queue(name, in: transaction) { queues.append(queue) }
      }
      return queues
    }
    var response = API.ListQueuesResponse()
    (response.queues, response.nextPageToken) = page.cut(queues, by: \.name)
    return response
  }

  package func getQueue(
    _ request: API.GetQueueRequest, context: ServerContext
  ) async throws -> API.Queue {
    let name = try queueName(request.name, field: "name")
    guard let queue = try await read({ try await self.queue(name, in: $0) }) else {
      throw RPCError(
        .notFound, "There is no queue '\(name)': no job and no limit has named it.",
        details: [.resourceInfo(type: "keelson.jobs.v1.Queue", name: name, description: "")])
    }
    return queue
  }

  package func updateQueue(
    _ request: API.UpdateQueueRequest, context: ServerContext
  ) async throws -> API.Queue {
    guard let given = request.queue else {
      throw RPCError.invalidArgument(field: "queue", "is required")
    }
    let name = try queueName(given.name, field: "queue.name")
    let limits = given.limits ?? .init()
    try check(limits)
    let paths = request.updateMask?.paths ?? []
    _ = try Self.apply(paths, of: limits, to: .init())
    return try await changeQueue(name, "updated", etag: given.etag, context) { settings in
      settings.limits = try Self.apply(paths, of: limits, to: settings.limits)
    }
  }

  package func pauseQueue(
    _ request: API.PauseQueueRequest, context: ServerContext
  ) async throws -> API.Queue {
    let name = try queueName(request.name, field: "name")
    return try await changeQueue(name, "paused", context) { $0.isPaused = true }
  }

  package func resumeQueue(
    _ request: API.ResumeQueueRequest, context: ServerContext
  ) async throws -> API.Queue {
    let name = try queueName(request.name, field: "name")
    return try await changeQueue(name, "resumed", context) { $0.isPaused = false }
  }

  private func queueName(_ name: String, field: String) throws -> String {
    if let problem = validation.nameProblem(name) {
      throw RPCError.invalidArgument(field: field, problem)
    }
    return name
  }

  private func check(_ given: API.QueueLimits) throws {
    var violations = Violations(prefix: "queue.limits")
    for (field, number) in [
      ("concurrency", Int64(given.concurrency)),
      ("concurrency_per_key", Int64(given.concurrencyPerKey)), ("rate", Int64(given.rate)),
      ("depth", given.depth),
    ] where number < 0 {
      violations.check(field, "\(number) is negative")
    }
    if let period = given.ratePeriod {
      violations.check(
        "rate_period",
        validation.durationProblem(period, from: .milliseconds(10), to: .seconds(3_600)))
    }
    for (field, time) in [("keep_ended", given.keepEnded), ("keep_failed", given.keepFailed)] {
      guard let time else { continue }
      violations.check(
        field, validation.durationProblem(time, from: .zero, to: .seconds(3_650 * 86_400)))
    }
    try violations.throwIfAny()
  }

  private static func apply(
    _ paths: [String], of given: API.QueueLimits, to limits: API.QueueLimits
  ) throws -> API.QueueLimits {
    guard !paths.isEmpty else { return given }
    var limits = limits
    for path in paths {
      switch path.hasPrefix("limits.") ? String(path.dropFirst(7)) : path {
      case "limits": limits = given
      case "concurrency": limits.concurrency = given.concurrency
      case "concurrency_per_key": limits.concurrencyPerKey = given.concurrencyPerKey
      case "rate": limits.rate = given.rate
      case "rate_period": limits.ratePeriod = given.ratePeriod
      case "depth": limits.depth = given.depth
      case "keep_ended": limits.keepEnded = given.keepEnded
      case "keep_failed": limits.keepFailed = given.keepFailed
      default:
        throw RPCError.invalidArgument(
          field: "update_mask", "'\(path)' is no limit of a queue that can be changed")
      }
    }
    return limits
  }

  private func changeQueue(
    _ name: String, _ action: String, etag: String = "", _ context: ServerContext,
    _ body: @escaping @Sendable (inout QueueSettings) throws -> Void
  ) async throws -> API.Queue {
    try await mapped {
      try await database.change(ChangeOrigin(context)) { change in
        let before = try await QueueRepository.settings(of: name, in: change)
        if !etag.isEmpty, etag != String(before?.revision ?? 0) {
          throw RPCError(
            .aborted,
            "queue.etag: '\(etag.prefix(64))' is not the current etag: the queue was changed in "
              + "between. Get it again and repeat the change.")
        }
        var settings = before ?? QueueSettings(name: name)
        try body(&settings)
        settings.revision = change.revision
        try await change.executeAll([QueueRepository.put(settings)])
        let queue = try await self.queue(name, in: change) ?? .init()
        change.audit(
          AuditDraft(
            action: "queue.\(action)", entityType: "queue", entityID: name,
            before: before.map { JSONText($0.message.json) },
            after: JSONText(settings.message.json)))
        change.emit(
          EventDraft(
            type: JobEvent.queueUpdated.rawValue, subject: name,
            data: JSONText(settings.message.json)))
        return queue
      }
    }
  }

  /// A queue as it stands; nil when nothing has named it.
  private func queue(_ name: String, in transaction: any Transaction) async throws -> API.Queue? {
    let settings = try await QueueRepository.settings(of: name, in: transaction)
    let counts = try await QueueRepository.counts(of: name, in: transaction)
    guard settings != nil || !counts.isEmpty else { return nil }
    var queue = (settings ?? QueueSettings(name: name)).message
    for count in counts {
      switch count.state {
      case .scheduled: queue.scheduled += count.number
      case .pending: queue.pending += count.number
      case .running: queue.running += count.number
      case .completed: queue.completed += count.number
      case .failed: queue.failed += count.number
      case .cancelled: queue.cancelled += count.number
      }
    }
    let pending = counts.filter { $0.state == .pending && $0.number > 0 }.map(\.kind)
    for kind in pending {
      guard let time = try await QueueRepository.firstPending(of: name, kind, in: transaction)
      else { continue }
      let oldest = queue.oldestPendingTime.flatMap { try? $0.unixTime }
      queue.oldestPendingTime = .init(min(oldest ?? time, time))
    }
    queue.kindsWithoutWorker = pending.filter {
      !dispatcher.hasWorker(for: .init(queue: name, kind: $0))
    }.sorted().prefix(100).map { $0 }
    return queue
  }
}
