import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// A job that SQL has made and that is to be taken up.
struct InboxRow: Sendable {
  let number: Int64
  let id: JobID
  let job: KeelsonJobsV1.Job
  let runTime: UnixTime?
  /// Who called the function: the role that has logged in.
  let role: String
  let correlationID: String
  let traceparent: String

  /// Who is said to have created it.
  var origin: ChangeOrigin {
    ChangeOrigin(
      actor: Self.actor(role), correlationID: correlationID, traceparent: traceparent)
  }

  static func actor(_ role: String) -> String { "postgresql:\(role)" }
}

/// The SQL of the inbox, of PostgreSQL only.
enum InboxRepository {
  /// The queues with jobs that wait: one look into the index for each, however many wait there.
  static func queues(atMost limit: Int, in transaction: any Transaction) async throws -> [String] {
    try await transaction.query(
      """
      WITH RECURSIVE queues (queue) AS (
        (SELECT queue FROM job_inbox WHERE refusal IS NULL ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT job_inbox.queue FROM job_inbox
          WHERE refusal IS NULL AND job_inbox.queue > queues.queue
          ORDER BY job_inbox.queue LIMIT 1)
        FROM queues WHERE queues.queue IS NOT NULL)
      SELECT queue FROM queues WHERE queue IS NOT NULL LIMIT $1
      """, [SQLValue(limit)]
    ).map { try $0.get(0) }
  }

  /// The first jobs of a queue, in the order of their calls.
  ///
  /// - Parameter bytes: of parameters, until which there is one more.
  static func page(
    of queue: String, limit: Int, bytes: Int, in transaction: any Transaction
  ) async throws -> [InboxRow] {
    try await transaction.query(
      """
      SELECT number, uuid_send(id), queue, kind, parameters, run_time, priority, unique_key,
        unique_window, timeout, maximum_retries, concurrency_key,
        CAST(array_to_json(tags) AS TEXT), role, correlation_id, traceparent
      FROM (SELECT *, sum(bytes) OVER (ORDER BY number) - bytes AS bytes_before
        FROM (SELECT *, CAST(coalesce(octet_length(parameters), 0) AS BIGINT) AS bytes
          FROM job_inbox WHERE refusal IS NULL AND queue = $1 ORDER BY number LIMIT $2) AS rows
      ) AS page WHERE bytes_before < $3 ORDER BY number
      """, [.text(queue), SQLValue(limit), SQLValue(bytes)]
    ).map(row)
  }

  private static func row(_ row: Row) throws -> InboxRow {
    var job = KeelsonJobsV1.Job()
    job.queue = try row.get(2)
    job.kind = try row.get(3)
    if let text: String = try row.get(4) { job.parameters = .init(kind: .json(text)) }
    job.priority = Int32(clamping: try row.get(6, as: Int64.self))
    if let key: String = try row.get(7) {
      var unique = KeelsonJobsV1.UniqueKey()
      unique.key = key
      unique.window = try row.get(8, as: Int64?.self).map { .init(Duration.microseconds($0)) }
      job.uniqueKey = unique
    }
    job.timeout = try row.get(9, as: Int64?.self).map { .init(Duration.microseconds($0)) }
    if let retries: Int64 = try row.get(10) {
      var policy = KeelsonJobsV1.RetryPolicy()
      policy.maximumRetries = Int32(clamping: retries)
      job.retryPolicy = policy
    }
    job.concurrencyKey = try row.get(11)
    guard case .array(let tags) = try? JSONValue(parsing: row.get(12)) else {
      throw StoreError(.corrupt, "A stored list of tags does not decode.")
    }
    job.tags = tags.compactMap { if case .string(let tag) = $0 { tag } else { nil } }
    return InboxRow(
      number: try row.get(0), id: try JobID(stored: row.get(1)), job: job,
      runTime: try row.get(5), role: try row.get(13), correlationID: try row.get(14),
      traceparent: try row.get(15))
  }

  /// Takes rows out.
  ///
  /// - Returns: the numbers of those that were there still.
  static func remove(
    _ numbers: [Int64], in transaction: any Transaction
  ) async throws -> Set<Int64> {
    var removed: Set<Int64> = []
    for statement in removal.statements(numbers, values: { [.integer($0)] }) {
      removed.formUnion(try await transaction.query(statement).map { try $0.get(0) })
    }
    return removed
  }

  private static let removal = RowSource(.postgreSQL, ["number": .integer]) { rows, _ in
    "DELETE FROM job_inbox WHERE refusal IS NULL AND number IN (\(rows)) RETURNING number"
  }

  static func refuse(_ number: Int64, _ reason: String) -> SQLStatement {
    SQLStatement(
      "UPDATE job_inbox SET refusal = $2 WHERE number = $1 AND refusal IS NULL",
      [.integer(number), .text(reason)])
  }

  /// Removes some of those that were refused before a time.
  static func prune(
    before time: UnixTime, limit: Int, in transaction: any Transaction
  ) async throws -> Int {
    try await transaction.execute(
      """
      DELETE FROM job_inbox WHERE number IN (SELECT number FROM job_inbox
        WHERE refusal IS NOT NULL AND create_time < $1 ORDER BY create_time LIMIT $2)
      """, [SQLValue(time), SQLValue(limit)])
  }

  /// Tells the function how large parameters may be.
  static func setParameterBytes(_ bytes: Int) -> SQLStatement {
    SQLStatement(
      "UPDATE job_inbox_settings SET parameter_bytes = $1 WHERE parameter_bytes <> $1",
      [SQLValue(bytes)])
  }

  static func figures(
    atMost limit: Int, in transaction: any Transaction
  ) async throws -> JobFigures.Inbox {
    let row = try await transaction.first(
      """
      SELECT count(*), min(number),
        (SELECT count(*) FROM (SELECT 1 FROM job_inbox WHERE refusal IS NOT NULL LIMIT $1) AS kept)
      FROM (SELECT number FROM job_inbox WHERE refusal IS NULL ORDER BY queue, number LIMIT $1)
        AS waiting
      """, [SQLValue(limit)])
    var inbox = JobFigures.Inbox()
    inbox.waiting = try row?.get(0) ?? 0
    inbox.first = try row?.get(1) ?? nil
    inbox.refused = try row?.get(2) ?? 0
    return inbox
  }
}
