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

  static func delete(_ id: JobID) -> [SQLStatement] {
    [
      "jobs WHERE id", "job_attempts WHERE job_id", "job_progress WHERE job_id",
      "job_unique_keys WHERE job_id",
    ].map { SQLStatement("DELETE FROM \($0) = $1", [.blob(id.bytes)]) }
  }

  // MARK: Many rows in one statement

  /// How many rows one statement takes: few different ones are kept prepared, and SQLite takes
  /// 32,766 parameters at most.
  static let rowsPerStatement = [1_000, 100, 10, 1]

  /// Splits elements into runs of ``rowsPerStatement``.
  static func chunks<Element>(
    of elements: [Element], atMost maximum: Int = 1_000
  ) -> [ArraySlice<Element>] {
    var chunks: [ArraySlice<Element>] = []
    var rest = elements[...]
    for size in rowsPerStatement where size <= maximum {
      while rest.count >= size {
        chunks.append(rest.prefix(size))
        rest = rest.dropFirst(size)
      }
    }
    return chunks
  }

  /// `($1, $2), ($3, $4)`
  static func places(rows: Int, columns: Int, casts: [String] = []) -> String {
    (0..<rows).map { row in
      "("
        + (0..<columns).map { column in
          let place = "$\(row * columns + column + 1)"
          return casts.isEmpty ? place : "CAST(\(place) AS \(casts[column]))"
        }.joined(separator: ", ") + ")"
    }.joined(separator: ", ")
  }

  private static let insertions = Dictionary(
    uniqueKeysWithValues: rowsPerStatement.map {
      (
        $0,
        "INSERT INTO jobs (\(StoredJob.columns)) VALUES "
          + places(rows: $0, columns: StoredJob.columnCount)
      )
    })

  static func insertions(of jobs: [StoredJob]) -> [SQLStatement] {
    chunks(of: jobs).map { chunk in
      SQLStatement(insertions[chunk.count] ?? "", chunk.flatMap(\.parameters))
    }
  }

  // MARK: Claims

  /// The pending jobs of a kind in a queue that come first.
  ///
  /// - Parameter perKey: how many jobs of one concurrency key may run; those of keys that have as
  ///   many are passed over. nil for any number.
  static func candidates(
    queue: String, kind: String, perKey: Int?, limit: Int, in transaction: any Transaction
  ) async throws -> [(id: JobID, rank: Int64, key: String)] {
    var sql = """
      SELECT id, rank, concurrency_key FROM jobs WHERE state = 2 AND queue = $1 AND kind = $2
      """
    var parameters: [SQLValue] = [.text(queue), .text(kind), SQLValue(limit)]
    if let perKey {
      sql += """
         AND (concurrency_key = '' OR (SELECT count(*) FROM jobs AS running
        WHERE running.state = 3 AND running.queue = $1 AND running.concurrency_key <> ''
        AND running.concurrency_key = jobs.concurrency_key) < $4)
        """
      parameters.append(SQLValue(perKey))
    }
    sql += " ORDER BY rank, id LIMIT $3"
    return try await transaction.query(sql, parameters).map {
      (JobID(stored: try $0.get(0)), try $0.get(1), try $0.get(2))
    }
  }

  /// Gives jobs that are pending to workers, and counts the attempts.
  static func claim(
    _ claims: [(id: JobID, worker: String, session: String)], lease: Duration, now: UnixTime,
    dialect: Dialect, in transaction: any Transaction
  ) async throws -> [StoredJob] {
    var claimed: [StoredJob] = []
    let casts = [dialect.blobType, "TEXT", "TEXT"]
    let least = dialect == .sqlite ? "min" : "least"
    for chunk in chunks(of: claims) {
      let (time, until) = ("$\(chunk.count * 3 + 1)", "$\(chunk.count * 3 + 2)")
      let start = "CAST(\(time) AS \(dialect.integerType))"
      let end = "CAST(\(until) AS \(dialect.integerType))"
      let rows = try await transaction.query(
        """
        WITH claims (id, worker, session) AS
          (VALUES \(places(rows: chunk.count, columns: 3, casts: casts)))
        UPDATE jobs SET state = 3, attempt = attempt + 1, worker = claims.worker,
          session = claims.session, start_time = \(start), deadline = \(start) + timeout,
          lease_expire_time = \(least)(\(end), coalesce(\(start) + timeout, \(end)))
        FROM claims WHERE jobs.id = claims.id AND jobs.state = 2 RETURNING \(qualifiedColumns)
        """,
        chunk.flatMap { [.blob($0.id.bytes), .text($0.worker), .text($0.session)] }
          + [SQLValue(now), SQLValue(now + lease)])
      claimed += try rows.map(StoredJob.init)
    }
    return claimed
  }

  private static let qualifiedColumns = StoredJob.columns.split(separator: ", ")
    .map { "jobs.\($0)" }.joined(separator: ", ")

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

  /// Completes the jobs whose leases are named, and nothing else.
  ///
  /// - Returns: those that were, with their queues and kinds.
  static func complete(
    _ results: [(id: JobID, attempt: Int, result: KeelsonJobsV1.Payload?)], now: UnixTime,
    dialect: Dialect, in transaction: any Transaction
  ) async throws -> [Completed] {
    var completed: [Completed] = []
    let casts = [dialect.blobType, dialect.integerType, dialect.blobType]
    for chunk in chunks(of: results) {
      let time = "CAST($\(chunk.count * 3 + 1) AS \(dialect.integerType))"
      let rows = try await transaction.query(
        """
        WITH done (id, attempt, result) AS
          (VALUES \(places(rows: chunk.count, columns: 3, casts: casts)))
        UPDATE jobs SET state = 4, end_time = \(time), result = done.result,
          lease_expire_time = NULL, deadline = NULL, cancel_time = NULL
        FROM done WHERE jobs.id = done.id AND jobs.attempt = done.attempt AND jobs.state = 3
        RETURNING jobs.id, jobs.queue, jobs.kind, jobs.start_time, jobs.worker, jobs.session
        """,
        chunk.flatMap {
          [.blob($0.id.bytes), SQLValue($0.attempt), SQLValue($0.result?.encoded())]
        } + [SQLValue(now)])
      completed += try rows.map {
        Completed(
          id: JobID(stored: try $0.get(0)), queue: try $0.get(1), kind: try $0.get(2),
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

  /// Prolongs leases, each no further than its limits.
  ///
  /// - Returns: those that are held, with the end of their grace time where they were called off.
  static func prolong(
    _ leases: [(id: JobID, attempt: Int)], until time: UnixTime, dialect: Dialect,
    in transaction: any Transaction
  ) async throws -> [JobID: UnixTime?] {
    var held: [JobID: UnixTime?] = [:]
    let casts = [dialect.blobType, dialect.integerType]
    for chunk in chunks(of: leases) {
      let until = "CAST($\(chunk.count * 2 + 1) AS \(dialect.integerType))"
      let least = dialect == .sqlite ? "min" : "least"
      let rows = try await transaction.query(
        """
        WITH held (id, attempt) AS
          (VALUES \(places(rows: chunk.count, columns: 2, casts: casts)))
        UPDATE jobs SET lease_expire_time =
          \(least)(\(until), coalesce(deadline, \(until)), coalesce(cancel_time, \(until)))
        FROM held WHERE jobs.id = held.id AND jobs.attempt = held.attempt AND jobs.state = 3
        RETURNING jobs.id, jobs.cancel_time
        """,
        chunk.flatMap { [.blob($0.id.bytes), SQLValue($0.attempt)] } + [SQLValue(time)])
      for row in rows {
        held.updateValue(try row.get(1), forKey: JobID(stored: try row.get(0)))
      }
    }
    return held
  }

  /// Prolongs every lease that would end before a time, each no further than its limits.
  static func prolongAll(until time: UnixTime, dialect: Dialect) -> SQLStatement {
    let least = dialect == .sqlite ? "min" : "least"
    return SQLStatement(
      """
      UPDATE jobs SET lease_expire_time =
        \(least)($1, coalesce(deadline, $1), coalesce(cancel_time, $1))
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
    ).map { Ended(id: JobID(stored: try $0.get(0)), kind: try $0.get(1)) }
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
