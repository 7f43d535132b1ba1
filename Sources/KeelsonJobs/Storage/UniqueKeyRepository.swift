import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// Of the jobs with one of these, one may be there at a time.
struct UniqueKey: Sendable, Hashable {
  var queue: String
  var kind: String
  var key: String

  /// nil when the job has none.
  init?(_ job: KeelsonJobsV1.Job) {
    guard let unique = job.uniqueKey else { return nil }
    queue = job.queue
    kind = job.kind
    key = unique.key
  }
}

extension StoredJob {
  /// nil when it has none.
  var uniqueKey: UniqueKey? {
    created.uniqueKey.map { UniqueKey(queue: queue, kind: kind, key: $0.key) }
  }
}

extension UniqueKey {
  init(queue: String, kind: String, key: String) {
    self.queue = queue
    self.kind = kind
    self.key = key
  }
}

/// The SQL of unique keys. A key is free again by itself: when its window is over, or without one
/// when its job has ended or is gone.
enum UniqueKeyRepository {
  static func holder(
    of key: UniqueKey, at now: UnixTime, in transaction: any Transaction
  ) async throws -> StoredJob? {
    let row = try await transaction.first(
      """
      SELECT job_id, until_time FROM job_unique_keys
      WHERE queue = $1 AND kind = $2 AND unique_key = $3
      """, [.text(key.queue), .text(key.kind), .text(key.key)])
    guard let row else { return nil }
    let until: UnixTime? = try row.get(1)
    if let until, until <= now { return nil }
    guard let job = try await JobRepository.job(try JobID(stored: row.get(0)), in: transaction)
    else { return nil }
    return until != nil || !job.lifecycle.state.hasEnded ? job : nil
  }

  static func take(_ key: UniqueKey, for job: StoredJob) -> SQLStatement {
    let until = job.created.uniqueKey?.window.map { job.createTime + $0.clampedDuration }
    return SQLStatement(
      """
      INSERT INTO job_unique_keys (queue, kind, unique_key, job_id, until_time)
      VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (queue, kind, unique_key) DO UPDATE SET job_id = $4, until_time = $5
      """,
      [
        .text(key.queue), .text(key.kind), .text(key.key), .blob(job.id.bytes), SQLValue(until),
      ])
  }
}
