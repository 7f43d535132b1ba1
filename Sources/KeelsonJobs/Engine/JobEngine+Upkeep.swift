import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// "JOBS" as a number.
  static let leaderLock: Int64 = 0x4A4F_4253

  /// Whether this server is the one of its fleet that moves the jobs whose time has come. Where two
  /// believe it for a moment, one finds nothing left to do.
  func leads() async throws -> Bool {
    guard database.dialect == .postgreSQL else { return true }
    // Held by the connection that writes, so that it is free as soon as that server is gone.
    return try await database.write { transaction in
      let row = try await transaction.first(
        "SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END",
        [.integer(Self.leaderLock)])
      return try row?.get(0, as: Bool.self) ?? false
    }
  }

  /// Keeps what handlers have said, of those attempts that still run.
  func keep(_ progress: [JobID: API.JobProgress]) async throws {
    guard !progress.isEmpty else { return }
    try await database.write { transaction in
      var statements: [SQLStatement] = []
      for (id, new) in progress {
        let earlier = try await ProgressRepository.progress(of: id, in: transaction)
        statements.append(ProgressRepository.put(new.following(earlier), of: id))
      }
      try await transaction.executeAll(statements)
    }
  }

  /// Gives every worker the length of a lease to be heard of.
  func prolongAll() async throws {
    let (length, dialect) = (limits.lease, database.dialect)
    try await database.write { transaction in
      let now = try await ChangeHead.current(in: transaction, dialect).nextTime
      try await transaction.executeAll([
        JobRepository.prolongAll(until: now + length, dialect: dialect)
      ])
    }
  }

  /// How long jobs are kept that ended, where their queue does not say.
  static let keepEnded: Duration = .seconds(7 * 86_400)
  static let keepFailed: Duration = .seconds(30 * 86_400)

  /// Removes all jobs that have been kept long enough, because somebody asks for it.
  ///
  /// - Returns: how many.
  func pruneAll(origin: ChangeOrigin) async throws -> Int {
    var removed = 0
    while true {
      try Task.checkCancellation()
      let step = try await prune()
      guard step > 0 else { break }
      removed += step
    }
    guard removed > 0 else { return 0 }
    let total = removed
    try await database.change(origin) { change in
      let data = JSONText(["removed": .number(Double(total))])
      change.audit(
        AuditDraft(
          action: "jobs.pruned", entityType: "jobs", entityID: "jobs", attributes: data))
      change.emit(EventDraft(type: JobEvent.pruned.rawValue, subject: "jobs", data: data))
    }
    return total
  }

  /// Removes jobs that have been kept long enough: a bounded number, so that nobody waits.
  ///
  /// - Returns: how many; 0 when none are left.
  func prune() async throws -> Int {
    let (limit, dialect) = (limits.claimsPerRound, database.dialect)
    return try await database.write { transaction in
      let now = try await ChangeHead.current(in: transaction, dialect).nextTime
      let settings = try await QueueRepository.allSettings(in: transaction)
      let lanes = try await QueueRepository.counts(in: transaction).filter { $0.state.hasEnded }
      var counts = JobCounts()
      var statements: [SQLStatement] = []
      var removed = 0
      for (queue, states) in Dictionary(grouping: lanes, by: \.queue) {
        let limits = settings[queue]?.limits
        for state in Set(states.map(\.state)) where removed < limit {
          let kept =
            state == .failed
            ? limits?.keepFailed?.clampedDuration ?? Self.keepFailed
            : limits?.keepEnded?.clampedDuration ?? Self.keepEnded
          let ended = try await JobRepository.ended(
            in: queue, state, before: now - kept, limit: limit - removed, in: transaction)
          for job in ended { counts.add(-1, to: state, queue: queue, kind: job.kind) }
          statements += JobRepository.delete(ended.map(\.id), dialect)
          removed += ended.count
        }
      }
      // The last step of a round: what counts nothing need not be looked at again.
      if removed == 0 { statements.append(QueueRepository.removeEmptyCounts) }
      try await transaction.executeAll(statements + counts.statements)
      return removed
    }
  }
}
