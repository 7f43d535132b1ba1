import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// Changes one job: what the body makes of it is written, audited and told.
  ///
  /// - Throws: `RPCError` NOT_FOUND; FAILED_PRECONDITION with what the job's state is.
  private func change(
    _ id: JobID, _ action: String, _ event: JobEvent, reason: String = "", origin: ChangeOrigin,
    also:
      @escaping @Sendable (
        _ before: StoredJob, _ after: StoredJob, Change
      ) async throws -> [SQLStatement] = { _, _, _ in [] },
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
        let more = try await also(before, job, change)
        var counts = JobCounts()
        counts.move(job, from: before.lifecycle.state)
        try await write([job], counts, more: more, in: change)
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
    try await change(
      id, "retried", .statusChanged, origin: origin, also: takingItsPlace
    ) { job, now throws(JobLifecycle.Refusal) in
      try job.move(at: now) { life throws(JobLifecycle.Refusal) in
        try life.retry(now: now)
      }
      job.result = nil
    }
  }

  /// What a job that runs again needs anew: room in its queue, and its unique key. An attempt that
  /// succeeded was in the job's own row, and stays in the record.
  private func takingItsPlace(
    _ before: StoredJob, _ job: StoredJob, in change: Change
  ) async throws -> [SQLStatement] {
    try await checkDepth(of: [job], in: change)
    var kept: [SQLStatement] = []
    if before.lifecycle.state == .completed, let attempt = before.newestAttempt {
      kept.append(AttemptRepository.put(attempt, of: job.id))
    }
    guard let key = job.uniqueKey else { return kept }
    let holder = try await UniqueKeyRepository.holder(of: key, at: change.time, in: change)
    guard holder == nil || holder?.id == job.id else {
      throw RPCError(
        .failedPrecondition,
        "Job '\(job.id.text)' was not retried: its unique key is that of job "
          + "'\(holder?.id.text ?? "")' by now.")
    }
    return kept + [UniqueKeyRepository.take(key, for: job)]
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
      try await change.executeAll(JobRepository.delete([id], database.dialect) + counts.statements)
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
