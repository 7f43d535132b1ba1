import KeelsonAPI
import KeelsonCore

extension KeelsonJobsV1.CreateJobResponse {
  var text: String {
    guard let job else { return "" }
    return existing
      ? "Job \(job.id) is there already; it is \(JobOptions.name(of: job.state))."
      : "Created job \(job.id); it is \(JobOptions.name(of: job.state))."
  }
}

extension KeelsonJobsV1.Job {
  /// What people see of a job whose state has just changed.
  var line: String {
    var text = "\(id) \(JobOptions.name(of: state))"
    if !kind.isEmpty { text += " \(queue)/\(kind)" }
    if attempt > 0 { text += " attempt \(attempt)" }
    if !worker.isEmpty { text += " by \(worker)" }
    if progress > 0 { text += " \(Int(progress * 100))%" }
    if !progressMessage.isEmpty { text += " \(progressMessage)" }
    if !stateMessage.isEmpty { text += " (\(stateMessage))" }
    return text.printable()
  }

  var sheet: String {
    var sheet = Sheet()
    sheet.add("id", id)
    sheet.add("kind", kind)
    sheet.add("queue", queue)
    sheet.add("state", JobOptions.name(of: state) + (cancelRequested ? ", called off" : ""))
    sheet.add("", stateMessage)
    sheet.add("priority", priority == 0 ? "" : "\(priority)")
    sheet.add("parameters", parameters.text)
    sheet.add("result", result.text)
    sheet.add("progress", progress > 0 ? "\(Int(progress * 100))% \(progressMessage)" : "")
    sheet.add("created", createTime.text)
    sheet.add("by", creator)
    sheet.add("schedule", schedule)
    sheet.add("runs at", state == .scheduled ? runTime.text : "")
    sheet.add("started", startTime.text)
    sheet.add("ended", endTime.text)
    sheet.add("lease until", leaseExpireTime.text)
    sheet.add("tags", tags.joined(separator: ", "))
    sheet.add("correlation id", correlationId)
    guard !attempts.isEmpty else { return sheet.text }
    var table = Table("ATTEMPT", "WORKER", "STARTED", "ENDED", "OUTCOME", "ERROR")
    for each in attempts {
      table.add(
        "\(each.attempt)", each.worker, each.startTime.text, each.endTime.text,
        each.outcome.word, each.error)
    }
    return sheet.text + "\n\n" + table.text
  }
}

extension KeelsonJobsV1.AttemptOutcome {
  fileprivate var word: String {
    switch self {
    case .succeeded: "succeeded"
    case .failed: "failed"
    case .leaseExpired: "lease expired"
    case .timedOut: "timed out"
    case .cancelled: "called off"
    case .handedBack: "handed back"
    default: "running"
    }
  }
}

extension Optional where Wrapped == KeelsonJobsV1.Payload {
  fileprivate var text: String {
    switch self?.kind {
    case .json(let text): text
    case .data(let bytes): "\(bytes.count) bytes"
    case nil: ""
    }
  }
}

extension KeelsonJobsV1.ListJobsResponse {
  var table: String {
    guard !jobs.isEmpty || !nextPageToken.isEmpty else { return "No jobs." }
    var table = Table("ID", "KIND", "QUEUE", "STATE", "ATTEMPT", "CREATED", "WORKER")
    for job in jobs {
      table.add(
        job.id, job.kind, job.queue, JobOptions.name(of: job.state), "\(job.attempt)",
        job.createTime.text, job.worker)
    }
    return table.text + (nextPageToken.isEmpty ? "" : "\n\nMore: --page-token \(nextPageToken)")
  }
}

extension KeelsonJobsV1.ListWorkersResponse {
  var table: String {
    guard !workers.isEmpty else { return "No workers." }
    var table = Table("NAME", "QUEUES", "KINDS", "RUNNING", "FREE", "SINCE", "PEER")
    for worker in workers {
      table.add(
        worker.name + (worker.draining ? " (stops)" : ""), worker.queues.joined(separator: ","),
        worker.kinds.joined(separator: ","), "\(worker.running)", "\(worker.credit)",
        worker.connectTime.text, worker.peer)
    }
    return table.text
  }
}

extension KeelsonJobsV1.Queue {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("queue", name + (paused ? ", paused" : ""))
    sheet.add("scheduled", "\(scheduled)")
    sheet.add("pending", "\(pending)")
    sheet.add("running", "\(running)")
    sheet.add("completed", "\(completed)")
    sheet.add("failed", "\(failed)")
    sheet.add("cancelled", "\(cancelled)")
    sheet.add("waits since", oldestPendingTime.text)
    sheet.add("without worker", kindsWithoutWorker.joined(separator: ", "))
    if let limits {
      func number(_ value: Int64) -> String { value == 0 ? "" : "\(value)" }
      sheet.add("concurrency", number(Int64(limits.concurrency)))
      sheet.add("per key", number(Int64(limits.concurrencyPerKey)))
      sheet.add(
        "rate",
        limits.rate == 0
          ? "" : "\(limits.rate) in \(limits.ratePeriod?.clampedDuration ?? .seconds(1))")
      sheet.add("depth", number(limits.depth))
      sheet.add("kept", limits.keepEnded.map { "\($0.clampedDuration)" } ?? "")
      sheet.add("failed kept", limits.keepFailed.map { "\($0.clampedDuration)" } ?? "")
    }
    return sheet.text
  }
}

extension KeelsonJobsV1.ListQueuesResponse {
  var table: String {
    guard !queues.isEmpty else { return "No queues." }
    var table = Table(
      "QUEUE", "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
    for queue in queues {
      table.add(
        queue.name + (queue.paused ? " (paused)" : ""), "\(queue.scheduled)", "\(queue.pending)",
        "\(queue.running)", "\(queue.completed)", "\(queue.failed)", "\(queue.cancelled)")
    }
    return table.text
  }
}

extension KeelsonJobsV1.Schedule {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("schedule", name + (paused ? ", paused" : ""))
    sheet.add("description", description)
    sheet.add("cron", "\(cron) in \(timeZone.isEmpty ? "UTC" : timeZone)")
    sheet.add("kind", job.map { "\($0.queue)/\($0.kind)" } ?? "")
    sheet.add("overlap", overlap.word)
    sheet.add("catch up", "\(catchUp ?? 1)")
    sheet.add("next run", nextRunTime.text)
    sheet.add("last run", lastRunTime.text)
    sheet.add("last job", lastJobId)
    sheet.add("skipped", skippedRuns == 0 ? "" : "\(skippedRuns)")
    sheet.add("etag", etag)
    return sheet.text
  }
}

extension KeelsonJobsV1.OverlapPolicy {
  fileprivate var word: String {
    switch self {
    case .skip: "skip"
    case .replace: "replace"
    default: "allow"
    }
  }
}

extension KeelsonJobsV1.ListSchedulesResponse {
  var table: String {
    guard !schedules.isEmpty else { return "No schedules." }
    var table = Table("NAME", "CRON", "ZONE", "KIND", "NEXT RUN", "LAST JOB")
    for schedule in schedules {
      table.add(
        schedule.name + (schedule.paused ? " (paused)" : ""), schedule.cron,
        schedule.timeZone.isEmpty ? "UTC" : schedule.timeZone, schedule.job?.kind ?? "",
        schedule.nextRunTime.text, schedule.lastJobId)
    }
    return table.text
  }
}
