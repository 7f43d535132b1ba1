import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// The events of this service. One event tells of all the jobs that one transaction moved the same
/// way; its payload is a list of them, from which the other nodes learn what happened.
enum JobEvent: String, Sendable {
  case scheduled = "keelson.jobs.BackgroundJobScheduled"
  case statusChanged = "keelson.jobs.BackgroundJobStatusChanged"
  case executed = "keelson.jobs.BackgroundJobExecuted"
  case failed = "keelson.jobs.BackgroundJobFailed"
  case cancelled = "keelson.jobs.BackgroundJobCancelled"
  case prioritized = "keelson.jobs.BackgroundJobPrioritized"
  case deleted = "keelson.jobs.BackgroundJobDeleted"
  case refused = "keelson.jobs.BackgroundJobRefused"
  case pruned = "keelson.jobs.BackgroundJobsPruned"
  case queueUpdated = "keelson.jobs.JobQueueUpdated"
  case depthExceeded = "keelson.jobs.JobQueueDepthExceeded"
  case depthRecovered = "keelson.jobs.JobQueueDepthRecovered"
  case scheduleUpdated = "keelson.jobs.JobScheduleUpdated"
  case scheduleDeleted = "keelson.jobs.JobScheduleDeleted"
  case scheduleSkipped = "keelson.jobs.JobScheduleSkipped"

  /// What all types here begin with.
  static let typePrefix = "keelson.jobs."
}

/// What an event says of a job: enough to wake whom it concerns.
struct JobNews: Sendable, Hashable {
  var id: JobID
  var queue: String
  var kind: String
  var state: JobState
  var attempt: Int
  var worker = ""
  var session = ""
  /// When a scheduled job is due.
  var runTime: UnixTime
  /// When a job that was called off while running loses its lease.
  var cancelTime: UnixTime?
  /// What its newest attempt ran into, or why it was called off.
  var error = ""

  init(_ job: StoredJob, error: String = "") {
    id = job.id
    queue = job.queue
    kind = job.kind
    state = job.lifecycle.state
    attempt = job.lifecycle.attempt
    worker = job.worker
    session = job.session
    runTime = job.lifecycle.runTime
    cancelTime = job.lifecycle.lease?.cancelTime
    self.error = error
  }

  init(
    id: JobID, queue: String, kind: String, state: JobState, attempt: Int, worker: String,
    session: String, runTime: UnixTime
  ) {
    self.id = id
    self.queue = queue
    self.kind = kind
    self.state = state
    self.attempt = attempt
    self.worker = worker
    self.session = session
    self.runTime = runTime
  }

  /// The message that goes into an event's payload, a job without what its creator said.
  var message: KeelsonJobsV1.Job {
    var job = KeelsonJobsV1.Job()
    job.id = id.text
    job.queue = queue
    job.kind = kind
    job.state = KeelsonJobsV1.JobState(state)
    job.attempt = Int32(clamping: attempt)
    job.worker = worker
    job.runTime = .init(runTime)
    job.cancelRequested = cancelTime != nil
    job.leaseExpireTime = cancelTime.map { .init($0) }
    job.stateMessage = error
    return job
  }

  /// As a JSON object, its members in the order of their names.
  fileprivate func write(to json: inout JSONWriter) {
    json.put("{\"attempt\":\(attempt)")
    if cancelTime != nil { json.put(",\"cancelRequested\":true") }
    for (name, text) in [
      (",\"error\":", error), (",\"id\":", id.text), (",\"kind\":", kind), (",\"queue\":", queue),
      (",\"state\":", state.name), (",\"worker\":", worker),
    ] where !text.isEmpty {
      json.put(name)
      json.write(text)
    }
    json.put("}")
  }
}

extension Change {
  /// Tells of jobs: one event for up to 1,000 of them, about their queue when it is one.
  func emit(_ event: JobEvent, _ news: [JobNews]) {
    for chunk in stride(from: 0, to: news.count, by: 1_000).map({
      news[$0..<min($0 + 1_000, news.count)]
    }) {
      let queues = Set(chunk.map(\.queue))
      var response = KeelsonJobsV1.ListJobsResponse()
      response.jobs = chunk.map(\.message)
      var json = JSONWriter()
      json.put("{\"jobs\":[")
      for (index, job) in chunk.enumerated() {
        if index > 0 { json.put(",") }
        job.write(to: &json)
      }
      json.put("]}")
      emit(
        EventDraft(
          type: event.rawValue,
          subject: queues.count == 1
            ? (chunk.count == 1
              ? "\(chunk.first?.queue ?? "")/\(chunk.first?.id.text ?? "")"
              : queues.first ?? "") : "",
          data: JSONText(verbatim: json.text),
          payload: response.encoded()))
    }
  }
}

extension CommittedEvent {
  /// The jobs that an event of this service tells of; nil for other events.
  func jobs() throws -> (event: JobEvent, jobs: [KeelsonJobsV1.Job])? {
    guard let event = JobEvent(rawValue: type) else { return nil }
    guard !payload.isEmpty else { return (event, []) }
    return (event, try KeelsonJobsV1.ListJobsResponse(decoding: payload, limits: .reply).jobs)
  }
}
