import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// A page of jobs, the newest first. No filter has an index of its own, so that none costs
/// anything when jobs move; instead a page looks at a bounded number of rows.
struct JobQuery: Sendable {
  struct Filter: Sendable {
    var states: Set<JobState> = []
    var queue = ""
    var kind = ""
    var tags: Set<String> = []
    var schedule = ""
    var since: UnixTime?
    var before: UnixTime?
  }

  var filter: Filter
  /// Jobs older than this one only; nil for all.
  var before: JobID?
  var limit: Int

  /// How many rows are looked at when what they hold has to be decoded.
  private static let decodedRows = 1_000

  /// - Returns: the jobs; and where the page has ended, when it has looked at as many rows as it
  ///   may and there may be more behind.
  func run(
    rowsPerPage: Int, in transaction: any Transaction
  ) async throws -> (jobs: [StoredJob], end: JobID?) {
    let rows = filter.tags.isEmpty ? rowsPerPage : min(rowsPerPage, Self.decodedRows)
    var parameters: [SQLValue] = [.blob(before?.bytes ?? Array(repeating: 0xFF, count: 17))]
    func parameter(_ value: SQLValue) -> String {
      parameters.append(value)
      return "$\(parameters.count)"
    }
    let end = try await transaction.first(
      "SELECT id FROM jobs WHERE id < $1 ORDER BY id DESC LIMIT 1 OFFSET $2",
      parameters + [SQLValue(rows - 1)]
    ).map { try JobID(stored: $0.get(0)) }
    var sql = "SELECT \(StoredJob.columns) FROM jobs WHERE id < $1"
    if let end { sql += " AND id >= \(parameter(.blob(end.bytes)))" }
    if !filter.states.isEmpty {
      let states = filter.states.map { String($0.rawValue) }.sorted().joined(separator: ", ")
      sql += " AND state IN (\(states))"
    }
    for (column, text) in [
      ("queue", filter.queue), ("kind", filter.kind), ("schedule", filter.schedule),
    ] where !text.isEmpty {
      sql += " AND \(column) = \(parameter(.text(text)))"
    }
    if let since = filter.since { sql += " AND create_time >= \(parameter(SQLValue(since)))" }
    if let before = filter.before { sql += " AND create_time < \(parameter(SQLValue(before)))" }
    sql += " ORDER BY id DESC LIMIT \(parameter(SQLValue(filter.tags.isEmpty ? limit : rows)))"
    let found = try await transaction.query(sql, parameters).map(StoredJob.init)
      .filter { filter.tags.isSubset(of: $0.created.tags) }
    return (Array(found.prefix(limit)), found.count < limit ? end : nil)
  }
}

extension JobQuery.Filter {
  /// - Throws: `RPCError` INVALID_ARGUMENT for what nothing could match.
  init(_ message: KeelsonJobsV1.JobFilter, validation: JobValidation) throws {
    for state in message.states {
      guard let known = JobState(rawValue: Int(state.rawValue)) else {
        throw RPCError.invalidArgument(field: "filter.states", "\(state.rawValue) is no state")
      }
      states.insert(known)
    }
    var violations = Violations(prefix: "filter")
    for (field, name) in [
      ("queue", message.queue), ("kind", message.kind), ("schedule", message.schedule),
    ] where !name.isEmpty {
      violations.check(field, validation.nameProblem(name))
    }
    if message.tags.count > validation.limits.tags {
      violations.check(
        "tags", "has \(message.tags.count) tags; at most \(validation.limits.tags) are allowed")
    }
    try violations.throwIfAny()
    queue = message.queue
    kind = message.kind
    schedule = message.schedule
    tags = Set(message.tags)
    since = try message.createdSince?.unixTime
    before = try message.createdBefore?.unixTime
  }

  /// Whether what events tell of jobs is enough for it.
  var canBeWatched: Bool { tags.isEmpty && schedule.isEmpty && since == nil && before == nil }

  func matches(_ job: KeelsonJobsV1.Job) -> Bool {
    (queue.isEmpty || queue == job.queue) && (kind.isEmpty || kind == job.kind)
      && (states.isEmpty || states.contains { $0.rawValue == Int(job.state.rawValue) })
  }
}
