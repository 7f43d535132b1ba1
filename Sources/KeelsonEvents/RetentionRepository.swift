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

  /// The oldest events that are kept, in order.
  static func oldest(
    after compacted: Int64, limit: Int, in transaction: any Transaction
  ) async throws -> [(revision: Int64, time: UnixTime)] {
    try await transaction.query(
      "SELECT revision, time FROM events WHERE revision > $1 ORDER BY revision LIMIT $2",
      [.integer(compacted), SQLValue(limit)]
    ).map { (try $0.get(0), try $0.get(1)) }
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
