import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of attempts that have ended, other than by success.
enum AttemptRepository {
  static func put(_ attempt: KeelsonJobsV1.JobAttempt, of id: JobID) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO job_attempts (job_id, attempt, body) VALUES ($1, $2, $3)
      ON CONFLICT (job_id, attempt) DO UPDATE SET body = $3
      """,
      [.blob(id.bytes), .integer(Int64(attempt.attempt)), .blob(attempt.encoded())])
  }

  /// The newest ones, the first first.
  static func newest(
    of id: JobID, limit: Int, in transaction: any Transaction
  ) async throws -> [KeelsonJobsV1.JobAttempt] {
    let rows = try await transaction.query(
      "SELECT body FROM job_attempts WHERE job_id = $1 ORDER BY attempt DESC LIMIT $2",
      [.blob(id.bytes), SQLValue(limit)])
    do {
      return try rows.reversed().map {
        try KeelsonJobsV1.JobAttempt(decoding: $0.get(0, as: [UInt8].self), limits: .reply)
      }
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored attempt does not decode.", cause: error)
    }
  }
}
