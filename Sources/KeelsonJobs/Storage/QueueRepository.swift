import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// A queue that has been given limits, or was paused.
struct QueueSettings: Sendable {
  let name: String
  var isPaused = false
  /// Jobs begun since ``begunSince``.
  var begun = 0
  var begunSince = UnixTime(microseconds: 0)
  var limits = KeelsonJobsV1.QueueLimits()
  var revision: Int64 = 0

  init(name: String) {
    self.name = name
  }

  /// As callers see it, without how its jobs stand.
  var message: KeelsonJobsV1.Queue {
    var queue = KeelsonJobsV1.Queue()
    queue.name = name
    queue.paused = isPaused
    queue.limits = limits
    queue.etag = String(revision)
    return queue
  }

  var ratePeriod: Duration { limits.ratePeriod?.clampedDuration ?? .seconds(1) }
  var ratePeriodEnd: UnixTime { begunSince + ratePeriod }

  /// How many jobs the rate lets begin now.
  func rateLeft(at now: UnixTime) -> Int {
    now >= ratePeriodEnd ? Int(limits.rate) : max(0, Int(limits.rate) - begun)
  }

  func adding(begun number: Int, at now: UnixTime) -> QueueSettings {
    var settings = self
    if now >= ratePeriodEnd {
      settings.begun = 0
      settings.begunSince = now
    }
    settings.begun += number
    return settings
  }
}

/// The SQL of queues.
enum QueueRepository {
  static func settings(
    of name: String, in transaction: any Transaction
  ) async throws -> QueueSettings? {
    try await transaction.query(settings(of: name)).first.map(decode)
  }

  static func settings(of name: String) -> SQLStatement {
    SQLStatement(
      "SELECT name, paused, begun, begun_since, body FROM job_queues WHERE name = $1",
      [.text(name)])
  }

  /// Of every queue that has any, by name.
  static func allSettings(
    in transaction: any Transaction
  ) async throws -> [String: QueueSettings] {
    let all = try await transaction.query(
      "SELECT name, paused, begun, begun_since, body FROM job_queues"
    ).map(decode)
    return Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
  }

  static func decode(_ row: Row) throws -> QueueSettings {
    var settings = QueueSettings(name: try row.get(0))
    settings.isPaused = try row.get(1)
    settings.begun = try row.get(2)
    settings.begunSince = try row.get(3)
    do {
      let queue = try KeelsonJobsV1.Queue(decoding: row.get(4, as: [UInt8].self), limits: .reply)
      settings.limits = queue.limits ?? .init()
      settings.revision = Int64(queue.etag) ?? 0
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored queue does not decode.", cause: error)
    }
    return settings
  }

  static func put(_ settings: QueueSettings) -> SQLStatement {
    var queue = KeelsonJobsV1.Queue()
    queue.limits = settings.limits
    queue.etag = String(settings.revision)
    return SQLStatement(
      """
      INSERT INTO job_queues (name, paused, begun, begun_since, body)
      VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (name) DO UPDATE SET paused = $2, begun = $3, begun_since = $4, body = $5
      """,
      [
        .text(settings.name), SQLValue(settings.isPaused), SQLValue(settings.begun),
        SQLValue(settings.begunSince), .blob(queue.encoded()),
      ])
  }

  static func begun(_ settings: QueueSettings) -> SQLStatement {
    SQLStatement(
      "UPDATE job_queues SET begun = $2, begun_since = $3 WHERE name = $1",
      [.text(settings.name), SQLValue(settings.begun), SQLValue(settings.begunSince)])
  }

  /// How many jobs of a queue wait, for their time or for a worker.
  static func waiting(in queue: String) -> SQLStatement {
    count(of: queue, where: "state IN (1, 2)")
  }

  static func pending(in queue: String) -> SQLStatement {
    count(of: queue, where: "state = 2")
  }

  static func running(in queue: String) -> SQLStatement {
    count(of: queue, where: "state = 3")
  }

  private static func count(of queue: String, where condition: String) -> SQLStatement {
    // The sum of integers is of a wider type in PostgreSQL.
    SQLStatement(
      """
      SELECT CAST(coalesce(sum(number), 0) AS BIGINT) FROM job_counts
      WHERE queue = $1 AND \(condition)
      """, [.text(queue)])
  }

  /// The names of queues, in the order of their bytes.
  static func names(
    after name: String, limit: Int, in transaction: any Transaction
  ) async throws -> [String] {
    try await transaction.query(
      """
      SELECT queue FROM job_counts WHERE queue > $1 AND number <> 0
      UNION SELECT name FROM job_queues WHERE name > $1 ORDER BY 1 LIMIT $2
      """, [.text(name), SQLValue(limit)]
    ).map { try $0.get(0) }
  }

  static let removeEmptyCounts = SQLStatement("DELETE FROM job_counts WHERE number = 0", [])

  /// The counts of one queue that are not 0.
  static func counts(
    of queue: String, in transaction: any Transaction
  ) async throws -> [(kind: String, state: JobState, number: Int64)] {
    try await transaction.query(
      "SELECT kind, state, number FROM job_counts WHERE queue = $1 AND number <> 0",
      [.text(queue)]
    ).compactMap { row in
      guard let state = JobState(rawValue: try row.get(1)) else { return nil }
      return (try row.get(0), state, try row.get(2))
    }
  }

  /// Since when the pending job of a kind waits that comes first.
  static func firstPending(
    of queue: String, _ kind: String, in transaction: any Transaction
  ) async throws -> UnixTime? {
    let row = try await transaction.first(
      """
      SELECT rank, priority FROM jobs WHERE state = 2 AND queue = $1 AND kind = $2
      ORDER BY rank, id LIMIT 1
      """, [.text(queue), .text(kind)])
    guard let row else { return nil }
    let rank: Int64 = try row.get(0)
    let priority: Int64 = try row.get(1)
    return UnixTime(microseconds: rank + priority * StoredJob.microsecondsPerPriority)
  }

  /// Every queue that has jobs or settings, with the counts of its states.
  static func counts(
    in transaction: any Transaction
  ) async throws -> [(queue: String, kind: String, state: JobState, number: Int64)] {
    try await transaction.query(
      "SELECT queue, kind, state, number FROM job_counts WHERE number <> 0"
    ).compactMap { row in
      guard let state = JobState(rawValue: try row.get(2)) else { return nil }
      return (try row.get(0), try row.get(1), state, try row.get(3))
    }
  }
}
