import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// The SQL of attempts that have ended. The success of a job's newest attempt is in the job's own
/// row.
enum AttemptRepository {
  static func put(_ attempt: KeelsonJobsV1.JobAttempt, of id: JobID) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO job_attempts (job_id, attempt, body) VALUES ($1, $2, $3)
      ON CONFLICT (job_id, attempt) DO UPDATE SET body = $3
      """,
      [.blob(id.bytes), .integer(Int64(attempt.attempt)), .blob(attempt.encoded())])
  }

  /// Where a job stands, if that attempt of it has ended in that way already; else nil.
  static func state(
    of id: JobID, ifAttempt attempt: Int, ended outcome: KeelsonJobsV1.AttemptOutcome,
    in transaction: any Transaction
  ) async throws -> JobState? {
    let row = try await transaction.first(
      """
      SELECT jobs.state, jobs.attempt, job_attempts.body FROM jobs
      LEFT JOIN job_attempts ON job_attempts.job_id = jobs.id AND job_attempts.attempt = $2
      WHERE jobs.id = $1
      """, [.blob(id.bytes), SQLValue(attempt)])
    guard let row, let state = JobState(rawValue: try row.get(0)) else { return nil }
    if let body = try row.get(2, as: [UInt8]?.self) {
      return try decode(body).outcome == outcome ? state : nil
    }
    let newest: Int = try row.get(1)
    return state == .completed && attempt == newest && outcome == .succeeded ? state : nil
  }

  /// The newest ones, the first first.
  static func newest(
    of id: JobID, limit: Int, in transaction: any Transaction
  ) async throws -> [KeelsonJobsV1.JobAttempt] {
    let rows = try await transaction.query(
      "SELECT body FROM job_attempts WHERE job_id = $1 ORDER BY attempt DESC LIMIT $2",
      [.blob(id.bytes), SQLValue(limit)])
    return try rows.reversed().map { try decode($0.get(0)) }
  }

  private static func decode(_ body: [UInt8]) throws -> KeelsonJobsV1.JobAttempt {
    do {
      return try KeelsonJobsV1.JobAttempt(decoding: body, limits: .reply)
    } catch {
      throw StoreError(.corrupt, "A stored attempt does not decode.", cause: error)
    }
  }
}
