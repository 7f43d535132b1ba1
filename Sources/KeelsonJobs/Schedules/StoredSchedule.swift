import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

/// A schedule as its row has it.
struct StoredSchedule: Sendable {
  typealias API = KeelsonJobsV1

  /// All of it, as callers see it; `next_run_time` is empty while it is paused.
  var message: API.Schedule

  var name: String { message.name }
  var nextTime: UnixTime? { message.nextRunTime.flatMap { try? $0.unixTime } }
  var lastJobID: JobID? { JobID(message.lastJobId) }

  /// How many of the runs that were missed are made up for.
  var catchUp: Int { Int(message.catchUp ?? 1) }

  /// A run that comes later than this was missed; what is a little late is not.
  static let lateAfter: Duration = .seconds(10)

  /// Sets when it is due next: after a time, unless it is paused.
  mutating func plan(after time: UnixTime, _ cron: CronExpression, _ zone: TimeZoneRules) {
    message.nextRunTime =
      message.paused ? nil : cron.next(after: time, in: zone).map { .init($0) }
  }

  /// The times at which it is to run now: those that are due, and of those that were missed the
  /// newest ones, as many as it makes up for.
  func dueTimes(at now: UnixTime, _ cron: CronExpression, _ zone: TimeZoneRules) -> [UnixTime] {
    guard let first = nextTime, first <= now else { return [] }
    let late = now - Self.lateAfter
    let fresh = Self.newest(Self.mostRuns, from: max(first, late), to: now, cron, zone)
    guard first < late, catchUp > 0 else { return fresh }
    let missed = Self.newest(
      catchUp, from: first, to: UnixTime(microseconds: late.microseconds - 1), cron, zone)
    return missed + fresh
  }

  /// Runs that one look creates at most.
  private static let mostRuns = 100

  /// The newest of the times from one to another, both included.
  private static func newest(
    _ count: Int, from first: UnixTime, to last: UnixTime, _ cron: CronExpression,
    _ zone: TimeZoneRules
  ) -> [UnixTime] {
    // There is no way backwards: looks ever further back until there are enough.
    var window: Int64 = 60_000_000
    while true {
      let start = max(first.microseconds, last.microseconds - window) - 1
      var times: [UnixTime] = []
      var time = UnixTime(microseconds: start)
      while let next = cron.next(after: time, in: zone), next <= last {
        times.append(next)
        if times.count > 2 * count { times.removeFirst(count) }
        time = next
      }
      if times.count >= count || start < first.microseconds {
        return Array(times.suffix(count))
      }
      window *= 4
    }
  }
}

extension UnixTime {
  static func - (time: UnixTime, duration: Duration) -> UnixTime {
    time + (.zero - duration)
  }
}

/// The SQL of schedules.
enum ScheduleRepository {
  private static func decode(_ row: Row) throws -> StoredSchedule {
    do {
      return StoredSchedule(
        message: try KeelsonJobsV1.Schedule(
          decoding: row.get("body", as: [UInt8].self), limits: .reply))
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored schedule does not decode.", cause: error)
    }
  }

  static func schedule(
    _ name: String, in transaction: any Transaction
  ) async throws -> StoredSchedule? {
    try await transaction.first(
      "SELECT body FROM job_schedules WHERE name = $1", [.text(name)]
    ).map(decode)
  }

  static func list(
    after name: String, limit: Int, in transaction: any Transaction
  ) async throws -> [StoredSchedule] {
    try await transaction.query(
      "SELECT body FROM job_schedules WHERE name > $1 ORDER BY name LIMIT $2",
      [.text(name), SQLValue(limit)]
    ).map(decode)
  }

  static func due(
    at now: UnixTime, limit: Int, in transaction: any Transaction
  ) async throws -> [StoredSchedule] {
    try await transaction.query(
      """
      SELECT body FROM job_schedules WHERE next_time IS NOT NULL AND next_time <= $1
      ORDER BY next_time, name LIMIT $2
      """, [SQLValue(now), SQLValue(limit)]
    ).map(decode)
  }

  static func count(in transaction: any Transaction) async throws -> Int {
    try await transaction.first("SELECT count(*) FROM job_schedules").map { try $0.get(0) } ?? 0
  }

  static func put(_ schedule: StoredSchedule) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO job_schedules (name, next_time, body) VALUES ($1, $2, $3)
      ON CONFLICT (name) DO UPDATE SET next_time = $2, body = $3
      """,
      [
        .text(schedule.name), SQLValue(schedule.nextTime), .blob(schedule.message.encoded()),
      ])
  }

  static func delete(_ name: String) -> SQLStatement {
    SQLStatement("DELETE FROM job_schedules WHERE name = $1", [.text(name)])
  }
}
