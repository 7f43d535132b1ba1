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
  static func chance() -> Double { Double.random(in: 0...1) }

  /// Writes jobs as they are now, and the counts that follow.
  func write(
    _ jobs: [StoredJob], _ counts: JobCounts, more: [SQLStatement] = [],
    in change: Change
  ) async throws {
    try await change.executeAll(
      jobs.map(JobRepository.update) + more + counts.statements)
  }

  /// Thrown out of a change that would change nothing.
  struct Nothing<Value: Sendable>: Error {
    var value: Value
  }
}
