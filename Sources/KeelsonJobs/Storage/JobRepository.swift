import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// The SQL of jobs. Each function is part of the transaction it is handed.
enum JobRepository {
  // MARK: Single jobs

  static func job(_ id: JobID, in transaction: any Transaction) async throws -> StoredJob? {
    try await transaction.first(
      "SELECT \(StoredJob.columns) FROM jobs WHERE id = $1", [.blob(id.bytes)]
    ).map(StoredJob.init)
  }

  /// Writes all that may change of a job.
  static func update(_ job: StoredJob) -> SQLStatement {
    let lease = job.lifecycle.lease
    return SQLStatement(
      """
      UPDATE jobs SET state = $2, priority = $3, rank = $4, run_time = $5, start_time = $6,
        end_time = $7, attempt = $8, allowed_attempts = $9, hand_backs = $10, worker = $11,
        session = $12, lease_expire_time = $13, deadline = $14, cancel_time = $15, result = $16
      WHERE id = $1
      """,
      [
        .blob(job.id.bytes), SQLValue(job.lifecycle.state.rawValue), SQLValue(job.priority),
        .integer(job.rank), SQLValue(job.lifecycle.runTime), SQLValue(job.startTime),
        SQLValue(job.endTime), SQLValue(job.lifecycle.attempt),
        SQLValue(job.lifecycle.allowedAttempts), SQLValue(job.lifecycle.handBacks),
        .text(job.worker), .text(job.session), SQLValue(lease?.expireTime),
        SQLValue(lease?.deadline), SQLValue(lease?.cancelTime), SQLValue(job.result?.encoded()),
      ])
  }

  private static let deletions = PerDialect { dialect in
    [
      "jobs WHERE id", "job_attempts WHERE job_id", "job_progress WHERE job_id",
      "job_unique_keys WHERE job_id",
    ].map { place in
      RowSource(dialect, ["id": .blob]) { rows, _ in "DELETE FROM \(place) IN (\(rows))" }
    }
  }

  static func delete(_ ids: [JobID], _ dialect: Dialect) -> [SQLStatement] {
    deletions[dialect].flatMap { $0.statements(ids) { [.blob($0.bytes)] } }
  }

  // MARK: Many rows in one statement

  private static let insertion = PerDialect { dialect in
    RowSource(dialect, StoredJob.columnTypes) { rows, _ in
      "INSERT INTO jobs (\(StoredJob.columns)) \(rows)"
    }
  }

  static func insertions(of jobs: [StoredJob], _ dialect: Dialect) -> [SQLStatement] {
    insertion[dialect].statements(jobs, values: \.parameters)
  }

  // MARK: Claims

  struct Candidate: Sendable {
    var id: JobID
    var rank: Int64
    var key: String

    init(_ row: Row) throws {
      id = try JobID(stored: row.get(0))
      rank = try row.get(1)
      key = try row.get(2)
    }
  }

  /// The pending jobs of a kind in a queue that come first.
  static func candidates(
    queue: String, kind: String, limit: Int, in transaction: any Transaction
  ) async throws -> [Candidate] {
    try await transaction.query(candidates(queue: queue, kind: kind, limit: limit))
      .map(Candidate.init)
  }

  static func candidates(queue: String, kind: String, limit: Int) -> SQLStatement {
    SQLStatement(
      """
      SELECT id, rank, concurrency_key FROM jobs WHERE state = 2 AND queue = $1 AND kind = $2
      ORDER BY rank, id LIMIT $3
      """, [.text(queue), .text(kind), SQLValue(limit)])
  }

  /// Keys that one look steps through.
  private static let keysPerLook = 1_000

  /// Those without a concurrency key.
  static func candidatesWithoutKey(
    queue: String, kind: String, limit: Int, in transaction: any Transaction
  ) async throws -> [Candidate] {
    try await transaction.query(
      """
      SELECT id, rank, concurrency_key FROM jobs
      WHERE state = 2 AND queue = $1 AND kind = $2 AND concurrency_key = ''
      ORDER BY rank, id LIMIT $3
      """, [.text(queue), .text(kind), SQLValue(limit)]
    ).map(Candidate.init)
  }

  /// Pending jobs of a kind in a queue, the first of each concurrency key, from key to key: so that
  /// keys with a million jobs and no room cost one step each.
  ///
  /// - Parameter key: begins with the key behind this one.
  static func firstOfKeys(
    queue: String, kind: String, after key: String, in transaction: any Transaction
  ) async throws -> [Candidate] {
    let next = { (place: String) in
      """
      (SELECT min(concurrency_key) FROM jobs
      WHERE state = 2 AND queue = $1 AND kind = $2 AND concurrency_key > \(place))
      """
    }
    return try await transaction.query(
      """
      WITH RECURSIVE keys (name, number) AS (
        SELECT \(next("$3")), 1
        UNION ALL
        SELECT \(next("keys.name")), number + 1 FROM keys
        WHERE name IS NOT NULL AND number < \(keysPerLook))
      SELECT id, rank, concurrency_key FROM keys JOIN jobs ON jobs.id =
        (SELECT first.id FROM jobs AS first WHERE first.state = 2 AND first.queue = $1
        AND first.kind = $2 AND first.concurrency_key = keys.name
        ORDER BY first.rank, first.id LIMIT 1)
      """, [.text(queue), .text(kind), .text(key)]
    ).map(Candidate.init)
  }

  /// `+ 0` keeps the planner, whose statistics are behind, from going through all jobs in a state in
  /// place of looking for each by its id.
  private static let claiming = PerDialect { dialect in
    RowSource(
      dialect, ["id": .blob, "worker": .text, "session": .text]
    ) { rows, further in
      let start = { "CAST(\(further(0)) AS \(dialect.integerType))" }
      let end = { "CAST(\(further(1)) AS \(dialect.integerType))" }
      let columns = StoredJob.columns.split(separator: ", ").map { "jobs.\($0)" }
      return """
        WITH claims (id, worker, session) AS (\(rows))
        UPDATE jobs SET state = 3, attempt = attempt + 1, worker = claims.worker,
          session = claims.session, start_time = \(start()), deadline = \(start()) + timeout,
          lease_expire_time =
            \(dialect.least)(\(end()), coalesce(\(start()) + timeout, \(end())))
        FROM claims WHERE jobs.id = claims.id AND jobs.state + 0 = 2
        RETURNING \(columns.joined(separator: ", "))
        """
    }
  }

  /// What gives jobs that are pending to workers and counts the attempts; each returns its jobs.
  static func claims(
    _ claims: [ClaimRound.Assigned], lease: Duration, now: UnixTime, dialect: Dialect
  ) -> [SQLStatement] {
    claiming[dialect].statements(claims, further: [SQLValue(now), SQLValue(now + lease)]) {
      [.blob($0.id.bytes), .text($0.worker), .text($0.session)]
    }
  }

  /// How many jobs of each key run in a queue, of those that run at all.
  static func runningKeys(
    queue: String, in transaction: any Transaction
  ) async throws -> [String: Int] {
    let rows = try await transaction.query(
      """
      SELECT concurrency_key, count(*) FROM jobs
      WHERE state = 3 AND queue = $1 AND concurrency_key <> '' GROUP BY concurrency_key
      """, [.text(queue)])
    return try Dictionary(
      uniqueKeysWithValues: rows.map { (try $0.get(0), try $0.get(1)) })
  }

  // MARK: Results

  private static let completing = PerDialect { dialect in
    RowSource(
      dialect, ["id": .blob, "attempt": .integer, "result": .blob]
    ) { rows, further in
      """
      WITH done (id, attempt, result) AS (\(rows))
      UPDATE jobs SET state = 4, end_time = CAST(\(further(0)) AS \(dialect.integerType)),
        result = done.result, lease_expire_time = NULL, deadline = NULL, cancel_time = NULL
      FROM done WHERE jobs.id = done.id AND jobs.attempt = done.attempt AND jobs.state + 0 = 3
      RETURNING jobs.id, jobs.queue, jobs.kind, jobs.start_time, jobs.worker, jobs.session
      """
    }
  }

  /// Completes the jobs whose leases are named, and nothing else.
  ///
  /// - Returns: those that were, with their queues and kinds.
  static func complete(
    _ results: [(id: JobID, attempt: Int, result: KeelsonJobsV1.Payload?)], now: UnixTime,
    dialect: Dialect, in transaction: any Transaction
  ) async throws -> [Completed] {
    let statements = completing[dialect].statements(results, further: [SQLValue(now)]) {
      [.blob($0.id.bytes), SQLValue($0.attempt), SQLValue($0.result?.encoded())]
    }
    var completed: [Completed] = []
    for statement in statements {
      completed += try await transaction.query(statement).map {
        Completed(
          id: try JobID(stored: $0.get(0)), queue: try $0.get(1), kind: try $0.get(2),
          startTime: try $0.get(3), worker: try $0.get(4), session: try $0.get(5))
      }
    }
    return completed
  }

  struct Completed: Sendable {
    var id: JobID
    var queue: String
    var kind: String
    var startTime: UnixTime
    var worker: String
    var session: String
  }

  private static let prolonging = PerDialect { dialect in
    RowSource(dialect, ["id": .blob, "attempt": .integer]) { rows, further in
      let until = { "CAST(\(further(0)) AS \(dialect.integerType))" }
      return """
        WITH held (id, attempt) AS (\(rows))
        UPDATE jobs SET lease_expire_time = \(dialect.least)(
          \(until()), coalesce(deadline, \(until())), coalesce(cancel_time, \(until())))
        FROM held WHERE jobs.id = held.id AND jobs.attempt = held.attempt AND jobs.state + 0 = 3
        RETURNING jobs.id, jobs.attempt, jobs.cancel_time
        """
    }
  }

  /// Prolongs leases, each no further than its limits.
  ///
  /// - Returns: those that are held, with the end of their grace time where they were called off.
  static func prolong(
    _ leases: [(id: JobID, attempt: Int)], until time: UnixTime, dialect: Dialect,
    in transaction: any Transaction
  ) async throws -> [HeldLease] {
    let statements = prolonging[dialect].statements(leases, further: [SQLValue(time)]) {
      [.blob($0.id.bytes), SQLValue($0.attempt)]
    }
    var held: [HeldLease] = []
    for statement in statements {
      held += try await transaction.query(statement).map {
        HeldLease(
          id: try JobID(stored: $0.get(0)), attempt: try $0.get(1), cancelTime: try $0.get(2))
      }
    }
    return held
  }

  struct HeldLease: Sendable {
    var id: JobID
    var attempt: Int
    /// When it ends since its job was called off.
    var cancelTime: UnixTime?
  }

  /// Prolongs every lease that would end before a time, each no further than its limits.
  static func prolongAll(until time: UnixTime, dialect: Dialect) -> SQLStatement {
    return SQLStatement(
      """
      UPDATE jobs SET lease_expire_time =
        \(dialect.least)($1, coalesce(deadline, $1), coalesce(cancel_time, $1))
      WHERE state = 3 AND lease_expire_time < $1
      """, [SQLValue(time)])
  }

  // MARK: Time

  /// Scheduled jobs whose time has come, those first that waited longest.
  static func due(
    at now: UnixTime, limit: Int, in transaction: any Transaction
  ) async throws -> [StoredJob] {
    try await transaction.query(
      """
      SELECT \(StoredJob.columns) FROM jobs WHERE state = 1 AND run_time <= $1
      ORDER BY run_time LIMIT $2
      """, [SQLValue(now), SQLValue(limit)]
    ).map(StoredJob.init)
  }

  /// Running jobs whose leases have ended.
  static func expired(
    at now: UnixTime, limit: Int, in transaction: any Transaction
  ) async throws -> [StoredJob] {
    try await transaction.query(
      """
      SELECT \(StoredJob.columns) FROM jobs WHERE state = 3 AND lease_expire_time <= $1
      ORDER BY lease_expire_time LIMIT $2
      """, [SQLValue(now), SQLValue(limit)]
    ).map(StoredJob.init)
  }

  struct Ended: Sendable {
    var id: JobID
    var kind: String
  }

  /// Jobs of a queue that ended in a state before a time, the oldest first.
  static func ended(
    in queue: String, _ state: JobState, before time: UnixTime, limit: Int,
    in transaction: any Transaction
  ) async throws -> [Ended] {
    try await transaction.query(
      """
      SELECT id, kind FROM jobs
      WHERE end_time IS NOT NULL AND queue = $1 AND state = $2 AND end_time < $3
      ORDER BY end_time LIMIT $4
      """, [.text(queue), SQLValue(state.rawValue), SQLValue(time), SQLValue(limit)]
    ).map { Ended(id: try JobID(stored: $0.get(0)), kind: try $0.get(1)) }
  }

  /// When the next scheduled job is due, when the next lease ends, and when the next schedule runs.
  static func nextTimes(
    in transaction: any Transaction
  ) async throws -> (due: UnixTime?, expiry: UnixTime?, schedule: UnixTime?) {
    let row = try await transaction.first(
      """
      SELECT (SELECT min(run_time) FROM jobs WHERE state = 1),
        (SELECT min(lease_expire_time) FROM jobs WHERE state = 3),
        (SELECT min(next_time) FROM job_schedules WHERE next_time IS NOT NULL)
      """)
    return (try row?.get(0) ?? nil, try row?.get(1) ?? nil, try row?.get(2) ?? nil)
  }
}
