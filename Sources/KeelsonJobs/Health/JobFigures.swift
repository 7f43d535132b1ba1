import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// How the jobs stand: read from the counters that every move keeps, so that no row is counted.
struct JobFigures: Sendable {
  /// One queue's.
  struct Queue: Sendable, Hashable {
    var name: String
    var isPaused = false
    /// Whether its depth is alerted of.
    var isAlerted = false
    /// By the number of the state less one.
    var numbers = [Int64](repeating: 0, count: JobState.allCases.count)

    subscript(state: JobState) -> Int64 { numbers[state.rawValue - 1] }
  }

  /// Of all queues.
  var total = Queue(name: "")
  /// Those that are alerted of, then the deepest, ``mostQueues`` of them.
  var queues: [Queue] = []
  /// Since when the pending job waits that waits longest, of the first of each kind.
  var oldestPendingTime: UnixTime?
  /// When the first thing is due that time moves: a scheduled job, the end of a lease, a schedule.
  var nextTime: UnixTime?
  /// The time by the database's clock, and that of the newest change.
  var time = UnixTime(microseconds: 0)
  var changeTime = UnixTime(microseconds: 0)
  var inbox = Inbox()

  /// Jobs that SQL has made and nobody has taken up yet.
  struct Inbox: Sendable {
    /// Up to ``mostCounted``.
    var waiting = 0
    /// The number of the first.
    var first: Int64?
    /// Those that were refused and are kept, up to ``mostCounted``.
    var refused = 0
  }

  /// Queues that a look takes in.
  static let mostQueues = 1_000
  /// Kinds in queues whose first job is looked at, those with most jobs first.
  static let mostLanes = 1_000
  static let mostCounted = 10_000

  static func read(in transaction: any Transaction, dialect: Dialect) async throws -> JobFigures {
    var figures = JobFigures()
    for row in try await transaction.query(
      "SELECT state, CAST(sum(number) AS BIGINT) FROM job_counts GROUP BY state")
    {
      guard let state = JobState(rawValue: try row.get(0)) else { continue }
      figures.total.numbers[state.rawValue - 1] = try row.get(1)
    }
    figures.queues = try await transaction.query(queues, [SQLValue(mostQueues)]).map(queue)
    let waits = try await transaction.query(
      firstOfLanes,
      [.integer(StoredJob.microsecondsPerPriority), SQLValue(mostLanes)])
    figures.oldestPendingTime = try waits.compactMap { try $0.get(0, as: UnixTime?.self) }.min()
    let times = try await JobRepository.nextTimes(in: transaction)
    figures.nextTime = [times.due, times.expiry, times.schedule].compactMap { $0 }.min()
    let head = try await ChangeHead.current(in: transaction, dialect)
    figures.time = head.time
    figures.changeTime = head.auditTime
    if dialect == .postgreSQL {
      figures.inbox = try await InboxRepository.figures(atMost: mostCounted, in: transaction)
    }
    return figures
  }

  private static let queues: String = {
    let sums = JobState.allCases.map { state in
      "CAST(sum(CASE WHEN state = \(state.rawValue) THEN number ELSE 0 END) AS BIGINT) "
        + "AS number_\(state.rawValue)"
    }
    let names = JobState.allCases.map { "number_\($0.rawValue)" }.joined(separator: ", ")
    return """
      SELECT counts.queue, coalesce(job_queues.paused, 0),
        CASE WHEN job_queue_alerts.queue IS NULL THEN 0 ELSE 1 END AS alerted, \(names)
      FROM (SELECT queue, \(sums.joined(separator: ", ")) FROM job_counts GROUP BY queue) AS counts
      LEFT JOIN job_queues ON job_queues.name = counts.queue
      LEFT JOIN job_queue_alerts ON job_queue_alerts.queue = counts.queue
      ORDER BY alerted DESC, number_\(JobState.pending.rawValue) DESC, counts.queue LIMIT $1
      """
  }()

  private static func queue(_ row: Row) throws -> Queue {
    var queue = Queue(name: try row.get(0))
    queue.isPaused = try row.get(1)
    queue.isAlerted = try row.get(2)
    for state in JobState.allCases {
      queue.numbers[state.rawValue - 1] = try row.get(state.rawValue + 2)
    }
    return queue
  }

  /// The first job of each kind in a queue: one look into the index for each.
  private static let firstOfLanes = """
    SELECT (SELECT rank + priority * $1 FROM jobs WHERE state = 2 AND jobs.queue = lanes.queue
      AND jobs.kind = lanes.kind ORDER BY rank, id LIMIT 1)
    FROM (SELECT queue, kind FROM job_counts WHERE state = 2 AND number > 0
      ORDER BY number DESC LIMIT $2) AS lanes
    """
}
