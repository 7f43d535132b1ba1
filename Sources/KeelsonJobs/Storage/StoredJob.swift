import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// A job as its row has it.
struct StoredJob: Sendable {
  typealias API = KeelsonJobsV1

  let id: JobID
  let queue: String
  let kind: String
  var priority: Int
  /// Where it stands among what waits: the lower goes first.
  var rank: Int64
  let createTime: UnixTime
  var startTime: UnixTime?
  var endTime: UnixTime?
  /// The worker that has or had it last, and its connection.
  var worker: String
  var session: String
  let concurrencyKey: String
  let schedule: String
  var result: API.Payload?
  /// What its creator said, and who that was.
  let created: API.Job
  var lifecycle: JobLifecycle

  /// By how much a step of priority puts a job forward: so much waiting makes up for it.
  static let microsecondsPerPriority: Int64 = 60_000_000

  static func rank(priority: Int, pendingSince time: UnixTime) -> Int64 {
    time.microseconds - Int64(priority) * microsecondsPerPriority
  }

  /// A new job, from what its creator said once that has been checked.
  init(new created: API.Job, id: JobID, runTime: UnixTime, now: UnixTime) {
    self.id = id
    queue = created.queue
    kind = created.kind
    priority = Int(created.priority)
    createTime = now
    worker = ""
    session = ""
    concurrencyKey = created.concurrencyKey
    schedule = created.schedule
    lifecycle = JobLifecycle(
      runTime: runTime, retryPolicy: RetryPolicy(created.retryPolicy), now: now)
    rank = Self.rank(priority: priority, pendingSince: max(runTime, now))
    var kept = created
    kept.id = ""
    kept.queue = ""
    kept.kind = ""
    kept.concurrencyKey = ""
    kept.schedule = ""
    self.created = kept
  }

  static let columnTypes: KeyValuePairs<String, RowSource.ColumnType> = [
    "id": .blob, "queue": .text, "kind": .text, "state": .integer, "priority": .integer,
    "rank": .integer, "create_time": .integer, "run_time": .integer, "start_time": .integer,
    "end_time": .integer, "attempt": .integer, "allowed_attempts": .integer,
    "hand_backs": .integer, "worker": .text, "session": .text, "lease_expire_time": .integer,
    "deadline": .integer, "cancel_time": .integer, "timeout": .integer, "concurrency_key": .text,
    "schedule": .text, "result": .blob, "body": .blob,
  ]
  static let columns = columnTypes.map(\.key).joined(separator: ", ")

  /// - Throws: ``StoreError`` with code corrupt for a row that holds no job.
  init(_ row: Row) throws {
    id = try JobID(stored: row.get(0))
    queue = try row.get(1)
    kind = try row.get(2)
    guard let state = JobState(rawValue: try row.get(3)) else {
      throw StoreError(.corrupt, "A stored job has a state that does not exist.")
    }
    priority = try row.get(4)
    rank = try row.get(5)
    createTime = try row.get(6)
    startTime = try row.get(8)
    endTime = try row.get(9)
    worker = try row.get(13)
    session = try row.get(14)
    concurrencyKey = try row.get(19)
    schedule = try row.get(20)
    do {
      result = try row.get(21, as: [UInt8]?.self).map {
        try API.Payload(decoding: $0, limits: .reply)
      }
      created = try API.Job(decoding: row.get(22, as: [UInt8].self), limits: .reply)
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored job does not decode.", cause: error)
    }
    var lease: JobLifecycle.Lease?
    if state == .running {
      lease = JobLifecycle.Lease(
        worker: worker, startTime: startTime ?? createTime,
        expireTime: try row.get(15, as: UnixTime?.self) ?? createTime,
        deadline: try row.get(16), cancelTime: try row.get(17))
    }
    lifecycle = JobLifecycle(
      stored: state, runTime: try row.get(7), attempt: try row.get(10),
      allowedAttempts: try row.get(11), handBacks: try row.get(12), lease: lease,
      retryPolicy: RetryPolicy(created.retryPolicy))
  }

  /// In the order of ``columns``.
  var parameters: [SQLValue] {
    [
      .blob(id.bytes), .text(queue), .text(kind), SQLValue(lifecycle.state.rawValue),
      SQLValue(priority), .integer(rank), SQLValue(createTime), SQLValue(lifecycle.runTime),
      SQLValue(startTime), SQLValue(endTime), SQLValue(lifecycle.attempt),
      SQLValue(lifecycle.allowedAttempts), SQLValue(lifecycle.handBacks), .text(worker),
      .text(session), SQLValue(lifecycle.lease?.expireTime), SQLValue(lifecycle.lease?.deadline),
      SQLValue(lifecycle.lease?.cancelTime), timeoutMicroseconds, .text(concurrencyKey),
      .text(schedule),
      SQLValue(result?.encoded()), .blob(created.encoded()),
    ]
  }

  var timeout: Duration? { created.timeout?.clampedDuration }

  private var timeoutMicroseconds: SQLValue {
    SQLValue(timeout.map { Int64($0 / .microseconds(1)) })
  }

  /// Changes where it stands, and what follows from that.
  mutating func move<Result>(
    at now: UnixTime, _ body: (inout JobLifecycle) throws(JobLifecycle.Refusal) -> Result
  ) throws(JobLifecycle.Refusal) -> Result {
    let before = lifecycle.state
    let result = try body(&lifecycle)
    guard lifecycle.state != before else { return result }
    endTime = lifecycle.state.hasEnded ? now : nil
    if lifecycle.state == .pending { rank = Self.rank(priority: priority, pendingSince: now) }
    if lifecycle.state == .running { startTime = now }
    return result
  }

  mutating func reprioritize(_ priority: Int) {
    rank -= Int64(priority - self.priority) * Self.microsecondsPerPriority
    self.priority = priority
  }

  /// The newest attempt, as far as this row tells; nil before the first.
  var newestAttempt: API.JobAttempt? {
    guard lifecycle.attempt > 0, let startTime else { return nil }
    var attempt = API.JobAttempt()
    attempt.attempt = Int32(clamping: lifecycle.attempt)
    attempt.worker = worker
    attempt.startTime = .init(startTime)
    if lifecycle.state == .completed {
      attempt.endTime = endTime.map { .init($0) }
      attempt.outcome = .succeeded
    }
    return attempt
  }

  /// As callers see it.
  var message: API.Job {
    var job = created
    job.id = id.text
    job.queue = queue
    job.kind = kind
    job.priority = Int32(clamping: priority)
    job.concurrencyKey = concurrencyKey
    job.schedule = schedule
    job.state = API.JobState(lifecycle.state)
    job.attempt = Int32(clamping: lifecycle.attempt)
    job.createTime = .init(createTime)
    job.runTime = .init(lifecycle.runTime)
    job.startTime = startTime.map { .init($0) }
    job.endTime = endTime.map { .init($0) }
    job.worker = worker
    job.leaseExpireTime = lifecycle.lease.map { .init($0.expireTime) }
    job.cancelRequested = lifecycle.lease?.cancelTime != nil
    job.result = result
    return job
  }
}

extension RetryPolicy {
  /// The policy that a message asks for, once it has been checked.
  init(_ message: KeelsonJobsV1.RetryPolicy?) {
    self.init()
    guard let message else { return }
    if let retries = message.maximumRetries { maximumRetries = Int(retries) }
    if let delay = message.initialDelay { initialDelay = delay.clampedDuration }
    if let multiplier = message.multiplier { self.multiplier = multiplier }
    if let delay = message.maximumDelay { maximumDelay = delay.clampedDuration }
    if let jitter = message.jitter { self.jitter = jitter }
  }
}

extension KeelsonJobsV1.JobState {
  init(_ state: KeelsonJobRules.JobState) {
    self = Self(rawValue: Int32(state.rawValue))
  }
}
