/// Where a job stands. The numbers are stored.
package enum JobState: Int, Sendable, Hashable, CaseIterable {
  /// Waits for its time, at first or before a retry. Can transition to: pending, cancelled.
  case scheduled = 1
  /// Waits for a worker. Can transition to: running, cancelled.
  case pending = 2
  /// A worker has it under a lease. Can transition to: completed, failed, cancelled, scheduled
  /// (to be retried), pending (handed back).
  case running = 3
  /// Its work is done. Can transition to: pending (by hand).
  case completed = 4
  /// Its attempts are used up; it is kept. Can transition to: pending (by hand).
  case failed = 5
  /// It was called off. Can transition to: pending (by hand).
  case cancelled = 6

  package var hasEnded: Bool {
    switch self {
    case .scheduled, .pending, .running: false
    case .completed, .failed, .cancelled: true
    }
  }

  package var name: String {
    switch self {
    case .scheduled: "scheduled"
    case .pending: "pending"
    case .running: "running"
    case .completed: "completed"
    case .failed: "failed"
    case .cancelled: "cancelled"
    }
  }
}
