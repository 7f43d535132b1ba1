import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// "JOBS" as a number.
  private static let leaderLock: Int64 = 0x4A4F_4253

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

  /// Where a round of ``prune(after:)`` has come to.
  struct Pruning: Sendable {
    var last: UnixTime?
    var removed = 0
  }

  /// How long jobs are kept that ended, where their queue does not say.
  static let keepEnded: Duration = .seconds(7 * 86_400)
  static let keepFailed: Duration = .seconds(30 * 86_400)

  /// Removes jobs that have been kept long enough: a bounded number, so that nobody waits.
  ///
  /// - Parameter last: where the step before has come to; nil to begin with the oldest.
  func prune(after last: UnixTime?) async throws -> Pruning {
    let limit = limits.claimsPerRound
    return try await database.write { transaction in
      let now = try await ChangeHead.current(in: transaction).nextTime
      let settings = try await QueueRepository.allSettings(in: transaction)
      func kept(_ queue: String, _ state: JobState) -> Duration {
        let limits = settings[queue]?.limits
        return state == .failed
          ? limits?.keepFailed?.clampedDuration ?? Self.keepFailed
          : limits?.keepEnded?.clampedDuration ?? Self.keepEnded
      }
      let shortest = settings.keys.flatMap { [kept($0, .failed), kept($0, .completed)] }
        .reduce(min(Self.keepEnded, Self.keepFailed), min)
      let ended = try await JobRepository.ended(
        after: last, before: now - shortest, limit: limit, in: transaction)
      var counts = JobCounts()
      var statements: [SQLStatement] = []
      for job in ended where job.endTime < now - kept(job.queue, job.state) {
        counts.add(-1, to: job.state, queue: job.queue, kind: job.kind)
        statements += JobRepository.delete(job.id)
      }
      try await transaction.executeAll(statements + counts.statements)
      return Pruning(
        last: ended.count == limit ? ended.last?.endTime : nil, removed: statements.count / 4)
    }
  }
}
