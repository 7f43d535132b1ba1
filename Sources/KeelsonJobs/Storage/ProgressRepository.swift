import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of what handlers say of their progress: of each job what its newest attempt has said.
enum ProgressRepository {
  /// A job with its attempt, progress and the lines of its log.
  static func progress(
    of id: JobID, in transaction: any Transaction
  ) async throws -> KeelsonJobsV1.JobProgress? {
    let row = try await transaction.first(
      "SELECT body FROM job_progress WHERE job_id = $1", [.blob(id.bytes)])
    do {
      return try row.map {
        try KeelsonJobsV1.JobProgress(decoding: $0.get(0, as: [UInt8].self), limits: .reply)
      }
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored progress does not decode.", cause: error)
    }
  }

  static func put(_ progress: KeelsonJobsV1.JobProgress, of id: JobID) -> SQLStatement {
    let attempt = Int64(progress.lease?.attempt ?? 0)
    return SQLStatement(
      """
      INSERT INTO job_progress (job_id, attempt, body) VALUES ($1, $2, $3)
      ON CONFLICT (job_id) DO UPDATE SET attempt = $2, body = $3
      """, [.blob(id.bytes), .integer(attempt), .blob(progress.encoded())])
  }
}

extension KeelsonJobsV1.JobProgress {
  /// Lines of a log that are kept of an attempt.
  static let keptLines = 100

  /// What was said before, and then this.
  func following(_ earlier: KeelsonJobsV1.JobProgress?) -> KeelsonJobsV1.JobProgress {
    guard let earlier, earlier.lease == lease else { return self }
    var both = self
    if progress < 0 {
      both.progress = earlier.progress
      both.message = earlier.message
    }
    both.logs = Array((earlier.logs + logs).suffix(Self.keptLines))
    return both
  }
}
