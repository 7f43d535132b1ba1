import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// What happens to jobs in the database: each method is one transaction. Holds no state.
///
/// Changes of one fleet are serial, so what one transaction has read holds until it is committed:
/// no row need be locked, and limits are exact.
struct JobEngine: Sendable {
  typealias API = KeelsonJobsV1

  let database: any Database
  let limits: JobLimits
  let logger: Logger

  /// A number from 0 to 1, for what is left to chance.
  private static func chance() -> Double { Double.random(in: 0...1) }

  /// Writes jobs as they are now, and the counts that follow.
  private func write(
    _ jobs: [StoredJob], _ counts: JobCounts, more: [SQLStatement] = [],
    in change: Change
  ) async throws {
    try await change.executeAll(
      jobs.map(JobRepository.update) + more + counts.statements)
  }
}

// MARK: Creating

extension JobEngine {
  /// A job to be created, checked.
  struct NewJob: Sendable {
    var job: API.Job
    /// The caller's own id.
    var id: JobID?
    var runTime: UnixTime?
    var delay: Duration?
  }

  struct Created: Sendable {
    var job: StoredJob
    var isExisting = false
  }

  /// Thrown out of a change that would change nothing.
  private struct Nothing<Value: Sendable>: Error {
    var value: Value
  }

  /// Creates all of the jobs, or returns those that are there in their place.
  func create(_ new: [NewJob], origin: ChangeOrigin) async throws -> [Created] {
    do {
      return try await database.change(origin) { change in
        var created: [Created] = []
        var byKey: [UniqueKey: StoredJob] = [:]
        var byID: [JobID: StoredJob] = [:]
        var more: [SQLStatement] = []
        for new in new {
          let key = UniqueKey(new.job)
          if let id = new.id {
            let there = if let made = byID[id] { made } else {
              try await JobRepository.job(id, in: change)
            }
            if let there {
              created.append(Created(job: there, isExisting: true))
              continue
            }
          }
          if let key {
            let holder = if let made = byKey[key] { made } else {
              try await UniqueKeyRepository.holder(of: key, at: change.time, in: change)
            }
            if let holder {
              created.append(Created(job: holder, isExisting: true))
              continue
            }
          }
          let job = made(new, origin: origin, now: change.time)
          created.append(Created(job: job))
          byID[job.id] = job
          if let key {
            byKey[key] = job
            more.append(UniqueKeyRepository.take(key, for: job))
          }
        }
        let jobs = created.filter { !$0.isExisting }.map(\.job)
        guard !jobs.isEmpty else { throw Nothing(value: created) }
        try await checkDepth(of: jobs, in: change)
        var counts = JobCounts()
        for job in jobs {
          counts.add(1, to: job.lifecycle.state, queue: job.queue, kind: job.kind)
        }
        try await change.executeAll(
          JobRepository.insertions(of: jobs) + more + counts.statements)
        audit(created: jobs, in: change)
        change.emit(.scheduled, jobs.map { JobNews($0) })
        return created
      }
    } catch let nothing as Nothing<[Created]> {
      return nothing.value
    }
  }

  private func made(_ new: NewJob, origin: ChangeOrigin, now: UnixTime) -> StoredJob {
    var job = new.job
    job.creator = origin.actor
    job.correlationId = origin.correlationID
    return StoredJob(
      new: job, id: new.id ?? .make(at: now),
      runTime: new.runTime ?? new.delay.map { now + $0 } ?? now, now: now)
  }

  /// - Throws: `RPCError` RESOURCE_EXHAUSTED when a queue has no room for all of them.
  private func checkDepth(of jobs: [StoredJob], in change: Change) async throws {
    for (queue, jobs) in Dictionary(grouping: jobs, by: \.queue) {
      let settings = try await QueueRepository.settings(of: queue, in: change)
      let limit = settings?.limits.depth ?? 0
      let depth = limit > 0 ? limit : limits.queueDepth
      let waiting = try await QueueRepository.waiting(in: queue, change)
      guard waiting + Int64(jobs.count) <= depth else {
        throw RPCError(
          .resourceExhausted,
          "Queue '\(queue)' holds \(waiting) waiting jobs; at most \(depth) are allowed. Try again "
            + "once workers have done some, or raise its limit.",
          details: [
            .quotaFailure([
              QuotaViolation(subject: "queue:\(queue)", description: "depth is limited to \(depth)")
            ])
          ])
      }
    }
  }

  /// One entry for a job, or for all jobs of one call.
  private func audit(created jobs: [StoredJob], in change: Change) {
    guard jobs.count > 1 else {
      for job in jobs {
        change.audit(
          AuditDraft(
            action: "job.created", entityType: "job", entityID: job.id.text,
            after: JSONText(job.message.json)))
      }
      return
    }
    change.audit(
      AuditDraft(
        action: "job.batch_created", entityType: "job", entityID: jobs[0].id.text,
        attributes: JSONText(
          .object([
            "count": .number(Double(jobs.count)),
            "ids": .array(jobs.map { .string($0.id.text) }),
            "queues": .array(Set(jobs.map(\.queue)).sorted().map { .string($0) }),
          ]))))
  }
}

// MARK: Handing out

extension JobEngine {
  /// What a worker would take.
  struct Demand: Sendable {
    var session: String
    var worker: String
    var queues: Set<String>
    var kinds: Set<String>
    var credit: Int
  }

  /// A kind in a queue.
  struct Lane: Sendable, Hashable {
    var queue: String
    var kind: String
  }

  struct Claims: Sendable {
    var jobs: [StoredJob] = []
    /// Lanes that may have more.
    var more: Set<Lane> = []
    /// Lanes whose queue is paused or at a limit: until something there ends, or the time comes.
    var blocked: Set<Lane> = []
    /// When a limit of the rate lets more jobs begin.
    var retryTime: UnixTime?
  }

  /// Hands out jobs that are pending, by rank, to workers that would take them.
  ///
  /// - Parameter lanes: where there may be some.
  func claim(_ demands: [Demand], lanes: [Lane]) async throws -> Claims {
    do {
      return try await database.change(.system(), isAudited: false) { change in
        var round = ClaimRound(demands: demands, limit: limits.claimsPerRound)
        for (queue, lanes) in Dictionary(grouping: lanes, by: \.queue) {
          try await gather(queue, lanes, into: &round, in: change)
        }
        let assigned = round.assign()
        guard !assigned.isEmpty else { throw Nothing(value: round.claims) }
        let jobs = try await JobRepository.claim(
          assigned.map { ($0.id, $0.worker, $0.session) }, lease: limits.lease, now: change.time,
          dialect: database.dialect, in: change)
        var counts = JobCounts()
        for job in jobs { counts.move(job, from: .pending) }
        try await change.executeAll(
          counts.statements + round.begun(at: change.time).map(QueueRepository.begun))
        change.emit(.statusChanged, jobs.map { JobNews($0) })
        round.claims.jobs = jobs
        return round.claims
      }
    } catch let nothing as Nothing<Claims> {
      return nothing.value
    }
  }

  /// Adds what a queue could give now.
  private func gather(
    _ queue: String, _ lanes: [Lane], into round: inout ClaimRound, in change: Change
  ) async throws {
    let settings = try await QueueRepository.settings(of: queue, in: change)
    guard settings?.isPaused != true else {
      round.claims.blocked.formUnion(lanes)
      return
    }
    var room = QueueRoom(count: round.limit)
    if let settings, settings.limits.concurrency > 0 {
      let running = try await QueueRepository.running(in: queue, change)
      room.limit(to: Int(settings.limits.concurrency) - Int(running))
    }
    if let settings, settings.limits.rate > 0 {
      room.limit(to: settings.rateLeft(at: change.time))
      if room.count == 0 { round.waitUntil(settings.ratePeriodEnd) }
    }
    guard room.count > 0 else {
      round.claims.blocked.formUnion(lanes)
      return
    }
    if let settings, settings.limits.concurrencyPerKey > 0 {
      room.perKey = Int(settings.limits.concurrencyPerKey)
      room.runningKeys = try await JobRepository.runningKeys(queue: queue, in: change)
    }
    for lane in lanes {
      let wanted = min(room.count, round.credit(for: lane))
      guard wanted > 0 else { continue }
      let found = try await JobRepository.candidates(
        queue: lane.queue, kind: lane.kind, without: room.fullKeys, limit: wanted, in: change)
      round.add(found, of: lane, isCut: found.count == wanted)
      // It may have jobs of those keys, which were passed over.
      if !room.fullKeys.isEmpty { round.claims.blocked.insert(lane) }
    }
    round.rooms[queue] = room
    if let settings, settings.limits.rate > 0 { round.rated[queue] = settings }
  }
}

// MARK: Results and heartbeats

extension JobEngine {
  /// What a worker says of an attempt.
  struct Result: Sendable {
    enum Outcome: Sendable {
      case succeeded(API.Payload?)
      case failed(message: String, isPermanent: Bool, retryAfter: Duration?)
      case cancelled
      case handedBack
    }

    var id: JobID
    var attempt: Int
    var outcome: Outcome
  }

  /// What became of a result: the job's state, or nil when the lease was another's by then.
  typealias Receipts = [JobState?]

  /// Takes results, each if its lease is still the worker's.
  ///
  /// - Returns: what became of each, in their order.
  func finish(_ results: [Result]) async throws -> Receipts {
    do {
      return try await database.change(.system(), isAudited: false) { change in
        var receipts = Receipts(repeating: nil, count: results.count)
        var counts = JobCounts()
        var executed: [JobNews] = []
        var completing: [(id: JobID, attempt: Int, result: API.Payload?)] = []
        var places: [JobID: Int] = [:]
        var others: [Int] = []
        for (index, result) in results.enumerated() {
          if case .succeeded(let payload) = result.outcome, places[result.id] == nil {
            places[result.id] = index
            completing.append((result.id, result.attempt, payload))
          } else {
            others.append(index)
          }
        }
        for done in try await JobRepository.complete(
          completing, now: change.time, dialect: database.dialect, in: change)
        {
          guard let index = places[done.id] else { continue }
          receipts[index] = .completed
          counts.add(-1, to: .running, queue: done.queue, kind: done.kind)
          counts.add(1, to: .completed, queue: done.queue, kind: done.kind)
          executed.append(
            JobNews(
              id: done.id, queue: done.queue, kind: done.kind, state: .completed,
              attempt: results[index].attempt, worker: done.worker, session: done.session,
              runTime: done.startTime))
        }
        var moved = Moved()
        for index in others {
          receipts[index] = try await apply(
            results[index], counts: &counts, moved: &moved, in: change)
        }
        guard !executed.isEmpty || !moved.isEmpty else { throw Nothing(value: receipts) }
        try await write(moved.jobs, counts, more: moved.attempts, in: change)
        if !executed.isEmpty { change.emit(.executed, executed) }
        moved.emit(in: change)
        return receipts
      }
    } catch let nothing as Nothing<Receipts> {
      return nothing.value
    }
  }

  /// Applies a result that is not a plain success.
  private func apply(
    _ result: Result, counts: inout JobCounts, moved: inout Moved, in change: Change
  ) async throws -> JobState? {
    guard var job = try await moved.job(result.id, in: change) else { return nil }
    let before = job
    var error = ""
    var outcome = API.AttemptOutcome.failed
    do throws(JobLifecycle.Refusal) {
      switch result.outcome {
      case .succeeded(let payload):
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.complete(token: result.attempt)
        }
        job.result = payload
        outcome = .succeeded
      case .failed(let message, let isPermanent, let retryAfter):
        error = message
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.fail(
            token: result.attempt, isPermanent ? .permanent : .error, chance: Self.chance(),
            now: change.time)
          if let retryAfter { life.postpone(to: change.time + retryAfter) }
        }
      case .cancelled:
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.confirmCancellation(token: result.attempt)
        }
        outcome = .cancelled
      case .handedBack:
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.handBack(token: result.attempt, chance: Self.chance(), now: change.time)
        }
        outcome = .handedBack
      }
    } catch {
      return nil
    }
    counts.move(job, from: before.lifecycle.state)
    let progress = try await ProgressRepository.progress(of: job.id, in: change)
    moved.add(
      job, before: before, outcome: outcome, error: error, progress: progress, at: change.time)
    return job.lifecycle.state
  }

  /// Prolongs leases.
  ///
  /// - Returns: those that are lost.
  func prolong(_ leases: [(id: JobID, attempt: Int)]) async throws -> [(id: JobID, attempt: Int)] {
    guard !leases.isEmpty else { return [] }
    let dialect = database.dialect
    let length = limits.lease
    return try await database.write { transaction in
      let now = try await ChangeHead.current(in: transaction).nextTime
      let held = try await JobRepository.prolong(
        leases, until: now + length, dialect: dialect, in: transaction)
      return leases.filter { !held.contains($0.id) }
    }
  }
}

// MARK: Time

extension JobEngine {
  struct Tick: Sendable {
    /// Whether as much was done as one round may, so that more may wait.
    var isCut = false
    var nextTime: UnixTime?
  }

  /// Moves the jobs whose time has come, and those whose leases have ended.
  func tick() async throws -> Tick {
    let now = UnixTime.now
    let times = try await database.read { transaction in
      (
        try await JobRepository.nextTimes(in: transaction),
        try await ChangeHead.current(in: transaction).nextTime
      )
    }
    let next = [times.0.due, times.0.expiry].compactMap { $0 }.min()
    guard let next, next <= max(times.1, now) else {
      return Tick(nextTime: [next, times.0.schedule].compactMap { $0 }.min())
    }
    let limit = limits.claimsPerRound
    return try await database.change(.system(), isAudited: false) { change in
      var counts = JobCounts()
      var moved = Moved()
      let due = try await JobRepository.due(at: change.time, limit: limit, in: change)
      for var job in due {
        let before = job
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.becomeDue(now: change.time)
        }
        counts.move(job, from: before.lifecycle.state)
        moved.add(job, before: before, outcome: nil, error: "", at: change.time)
      }
      let expired = try await JobRepository.expired(at: change.time, limit: limit, in: change)
      for var job in expired {
        let before = job
        let isOver = before.lifecycle.lease?.deadline.map { $0 <= change.time } ?? false
        try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
          try life.expire(chance: Self.chance(), now: change.time)
        }
        counts.move(job, from: before.lifecycle.state)
        let wasCancelled = job.lifecycle.state == .cancelled
        moved.add(
          job, before: before,
          outcome: wasCancelled ? .cancelled : isOver ? .timedOut : .leaseExpired,
          error: wasCancelled
            ? "It was called off, and its worker had not broken it off by the end of the grace time."
            : isOver
              ? "It took longer than its timeout."
              : "The worker '\(before.worker)' was not heard of in time.",
          at: change.time)
      }
      guard !moved.isEmpty else { throw Nothing(value: Tick(nextTime: nil)) }
      try await write(moved.jobs, counts, more: moved.attempts, in: change)
      moved.emit(in: change)
      return Tick(isCut: due.count == limit || expired.count == limit)
    }
  }
}

// MARK: By hand

extension JobEngine {
  /// Changes one job: what the body makes of it is written, audited and told.
  ///
  /// - Throws: `RPCError` NOT_FOUND; FAILED_PRECONDITION with what the job's state is.
  private func change(
    _ id: JobID, _ action: String, _ event: JobEvent, reason: String = "", origin: ChangeOrigin,
    _ body: @escaping @Sendable (inout StoredJob, UnixTime) throws(JobLifecycle.Refusal) -> Void
  ) async throws -> StoredJob {
    do {
      return try await database.change(origin) { change in
        guard var job = try await JobRepository.job(id, in: change) else {
          throw Self.noJob(id)
        }
        let before = job
        do throws(JobLifecycle.Refusal) {
          try body(&job, change.time)
        } catch {
          throw RPCError(error, of: job, action)
        }
        guard job.parameters != before.parameters else { throw Nothing(value: job) }
        var counts = JobCounts()
        counts.move(job, from: before.lifecycle.state)
        try await write([job], counts, in: change)
        change.audit(
          AuditDraft(
            action: "job.\(action)", entityType: "job", entityID: id.text,
            before: JSONText(before.message.json),
            after: JSONText(job.message.json),
            attributes: reason.isEmpty ? nil : JSONText(.object(["reason": .string(reason)]))))
        change.emit(event, [JobNews(job, error: reason)])
        return job
      }
    } catch let nothing as Nothing<StoredJob> {
      return nothing.value
    }
  }

  func cancel(
    _ id: JobID, grace: Duration, reason: String, origin: ChangeOrigin
  ) async throws -> StoredJob {
    try await change(id, "cancelled", .cancelled, reason: reason, origin: origin) {
      job, now throws(JobLifecycle.Refusal) in
      try job.move(at: now) { life throws(JobLifecycle.Refusal) in
        try life.cancel(grace: grace, now: now)
      }
    }
  }

  func retry(_ id: JobID, origin: ChangeOrigin) async throws -> StoredJob {
    try await change(id, "retried", .statusChanged, origin: origin) {
      job, now throws(JobLifecycle.Refusal) in
      try job.move(at: now) { life throws(JobLifecycle.Refusal) in
        try life.retry(now: now)
      }
      job.result = nil
    }
  }

  func reprioritize(_ id: JobID, to priority: Int, origin: ChangeOrigin) async throws -> StoredJob {
    try await change(id, "reprioritized", .prioritized, origin: origin) {
      job, _ throws(JobLifecycle.Refusal) in
      switch job.lifecycle.state {
      case .scheduled, .pending: job.reprioritize(priority)
      case .running, .completed, .failed, .cancelled: throw .wrongState(job.lifecycle.state)
      }
    }
  }

  func delete(_ id: JobID, origin: ChangeOrigin) async throws {
    try await database.change(origin) { change in
      guard let job = try await JobRepository.job(id, in: change) else { throw Self.noJob(id) }
      guard job.lifecycle.state.hasEnded else {
        throw RPCError(.wrongState(job.lifecycle.state), of: job, "deleted")
      }
      var counts = JobCounts()
      counts.add(-1, to: job.lifecycle.state, queue: job.queue, kind: job.kind)
      try await change.executeAll(JobRepository.delete(id) + counts.statements)
      change.audit(
        AuditDraft(
          action: "job.deleted", entityType: "job", entityID: id.text,
          before: JSONText(job.message.json)))
      change.emit(.deleted, [JobNews(job)])
    }
  }

  static func noJob(_ id: JobID) -> RPCError {
    RPCError(
      .notFound, "There is no job '\(id.text)'; jobs that have ended are removed in time.",
      details: [.resourceInfo(type: "keelson.jobs.v1.Job", name: id.text, description: "")])
  }
}

extension RPCError {
  /// Why a job cannot be changed as a caller asks.
  init(_ refusal: JobLifecycle.Refusal, of job: StoredJob, _ action: String) {
    let state = job.lifecycle.state.name
    let advice =
      switch refusal {
      case .alreadyEnded: "it has ended already"
      case .wrongState, .notYet, .staleToken: "that cannot be done then"
      }
    self.init(
      .failedPrecondition, "Job '\(job.id.text)' is \(state), so it was not \(action): \(advice).",
      details: [
        .preconditionFailure([
          PreconditionViolation(
            type: "JOB_STATE", subject: job.id.text, description: "the job is \(state)")
        ])
      ])
  }
}
