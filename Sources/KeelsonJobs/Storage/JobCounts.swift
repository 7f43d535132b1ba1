import KeelsonJobRules
import KeelsonStore

/// How many jobs came to a state or left it, by queue and kind: written in the transaction that
/// moves them.
struct JobCounts: Sendable {
  struct Key: Sendable, Hashable {
    var queue: String
    var kind: String
    var state: JobState
  }

  private(set) var changes: [Key: Int] = [:]

  mutating func add(_ number: Int, to state: JobState, queue: String, kind: String) {
    changes[Key(queue: queue, kind: kind, state: state), default: 0] += number
  }

  /// One job went from a state to another.
  mutating func move(_ job: StoredJob, from state: JobState) {
    guard state != job.lifecycle.state else { return }
    add(-1, to: state, queue: job.queue, kind: job.kind)
    add(1, to: job.lifecycle.state, queue: job.queue, kind: job.kind)
  }

  /// In one order always, so that the statements are the same.
  var statements: [SQLStatement] {
    changes.filter { $0.value != 0 }
      .sorted {
        ($0.key.queue, $0.key.kind, $0.key.state.rawValue)
          < ($1.key.queue, $1.key.kind, $1.key.state.rawValue)
      }
      .map { key, number in
        SQLStatement(
          """
          INSERT INTO job_counts (queue, kind, state, number) VALUES ($1, $2, $3, $4)
          ON CONFLICT (queue, kind, state) DO UPDATE SET number = job_counts.number + $4
          """,
          [.text(key.queue), .text(key.kind), SQLValue(key.state.rawValue), SQLValue(number)])
      }
  }
}
