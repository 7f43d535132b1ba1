import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of the retention policy and of who applies it.
enum RetentionRepository {
  typealias Policy = KeelsonEventsV1.RetentionPolicy

  /// The policy in force.
  static func policy(in transaction: any Transaction) async throws -> Policy {
    let row = try await transaction.first("SELECT body FROM event_retention WHERE id = 1")
    guard let row else { return .initial }
    return try Policy(decoding: try row.get(0))
  }

  static func set(_ policy: Policy, revision: Int64, in transaction: any Transaction) async throws {
    try await transaction.execute(
      """
      INSERT INTO event_retention (id, revision, body) VALUES (1, $1, $2)
      ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, body = excluded.body
      """, [.integer(revision), .blob(policy.encoded())])
  }

  /// The newest event before a time; nil when there is none.
  static func newest(before time: UnixTime, in transaction: any Transaction) async throws
    -> Int64?
  {
    try await transaction.first(
      "SELECT revision FROM events WHERE time < $1 ORDER BY time DESC, revision DESC LIMIT 1",
      [SQLValue(time)]
    )?.get(0)
  }

  /// The oldest event after one time and up to another; nil when there is none.
  static func oldest(
    after start: UnixTime, upTo end: UnixTime, in transaction: any Transaction
  ) async throws -> Int64? {
    try await transaction.first(
      """
      SELECT revision FROM events WHERE time > $1 AND time <= $2 ORDER BY time, revision LIMIT 1
      """,
      [SQLValue(start), SQLValue(end)]
    )?.get(0)
  }

  /// Makes this server the one that removes events, or goes on being it.
  ///
  /// - Returns: whether it is; otherwise another server of the fleet is at it.
  static func take(
    _ holder: String, until end: UnixTime, now: UnixTime, in transaction: any Transaction
  ) async throws -> Bool {
    try await transaction.execute(
      """
      UPDATE event_compaction SET holder = $1, held_until = $2
      WHERE id = 1 AND (holder = $1 OR held_until < $3)
      """, [.text(holder), SQLValue(end), SQLValue(now)]) == 1
  }

  static func release(_ holder: String, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "UPDATE event_compaction SET held_until = 0 WHERE id = 1 AND holder = $1", [.text(holder)])
  }
}
