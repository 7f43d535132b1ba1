import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// A job to be created, checked.
  struct NewJob: Sendable {
    var job: API.Job
    /// The caller's own id.
    var id: JobID?
    var runTime: UnixTime?
    var delay: Duration?
    /// Who creates it, where that is not the origin of the change.
    var origin: ChangeOrigin?
  }

  struct Created: Sendable {
    var job: StoredJob
    var isExisting = false
  }

  /// Creates all of the jobs, or returns those that are there in their place.
  ///
  /// - Parameter whenWritten: told of the lanes of jobs that wait for a worker, ahead of the commit:
  ///   who looks for them then has a good chance to be part of it.
  func create(
    _ new: [NewJob], origin: ChangeOrigin,
    whenWritten: @escaping @Sendable (Set<Lane>) -> Void = { _ in }
  ) async throws -> [Created] {
    do {
      return try await database.change(origin) { change in
        let created = try await add(new, from: origin, in: change)
        guard created.contains(where: { !$0.isExisting }) else { throw Nothing(value: created) }
        whenWritten(
          Set(
            created.map(\.job).filter { $0.lifecycle.state == .pending }
              .map { Lane(queue: $0.queue, kind: $0.kind) }))
        return created
      }
    } catch let nothing as Nothing<[Created]> {
      return nothing.value
    }
  }

  /// The same as a part of a change.
  func add(
    _ new: [NewJob], from origin: ChangeOrigin, in change: Change
  ) async throws -> [Created] {
    var created: [Created] = []
    var byKey: [UniqueKey: StoredJob] = [:]
    var byID: [JobID: StoredJob] = [:]
    var more: [SQLStatement] = []
    for new in new {
      let key = UniqueKey(new.job)
      if let id = new.id {
        let there =
          if let made = byID[id] { made } else {
            try await JobRepository.job(id, in: change)
          }
        if let there {
          created.append(Created(job: there, isExisting: true))
          continue
        }
      }
      if let key {
        let holder =
          if let made = byKey[key] { made } else {
            try await UniqueKeyRepository.holder(of: key, at: change.time, in: change)
          }
        if let holder {
          created.append(Created(job: holder, isExisting: true))
          continue
        }
      }
      let job = made(new, origin: new.origin ?? origin, now: change.time)
      created.append(Created(job: job))
      byID[job.id] = job
      if let key {
        byKey[key] = job
        more.append(UniqueKeyRepository.take(key, for: job))
      }
    }
    let jobs = created.filter { !$0.isExisting }.map(\.job)
    guard !jobs.isEmpty else { return created }
    try await checkDepth(of: jobs, in: change)
    var counts = JobCounts()
    for job in jobs {
      counts.add(1, to: job.lifecycle.state, queue: job.queue, kind: job.kind)
    }
    try await change.executeAll(
      JobRepository.insertions(of: jobs, database.dialect) + more + counts.statements)
    audit(created: jobs, in: change)
    change.emit(.scheduled, jobs.map { JobNews($0) })
    return created
  }

  private func made(_ new: NewJob, origin: ChangeOrigin, now: UnixTime) -> StoredJob {
    var job = new.job
    job.creator = origin.actor
    job.correlationId = origin.correlationID
    job.traceparent = origin.traceparent
    return StoredJob(
      new: job, id: new.id ?? .make(at: now),
      runTime: new.runTime ?? new.delay.map { now + $0 } ?? now, now: now)
  }

  /// - Throws: `RPCError` RESOURCE_EXHAUSTED when a queue has no room for all of them.
  func checkDepth(of jobs: [StoredJob], in change: Change) async throws {
    for (queue, jobs) in Dictionary(grouping: jobs, by: \.queue) {
      let (left, depth) = try await depthLeft(of: queue, in: change)
      guard Int64(jobs.count) <= left else {
        throw RPCError(
          .resourceExhausted,
          "Queue '\(queue)' holds \(depth - left) waiting jobs; at most \(depth) are allowed. Try again "
            + "once workers have done some, or raise its limit.",
          details: [
            .quotaFailure([
              QuotaViolation(subject: "queue:\(queue)", description: "depth is limited to \(depth)")
            ])
          ])
      }
    }
  }

  /// How many more jobs may wait in a queue, of how many in all.
  func depthLeft(
    of queue: String, in change: Change
  ) async throws -> (left: Int64, depth: Int64) {
    let rows = try await change.queryAll([
      QueueRepository.settings(of: queue), QueueRepository.waiting(in: queue),
    ])
    let limit = try rows[0].first.map(QueueRepository.decode)?.limits.depth ?? 0
    let depth = limit > 0 ? limit : limits.queueDepth
    return (depth - (try rows[1].first?.get(0) ?? 0), depth)
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
