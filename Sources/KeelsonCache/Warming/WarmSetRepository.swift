import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of warm sets. Each function is part of the transaction it is handed.
enum WarmSetRepository {
  typealias WarmSet = KeelsonCacheV1.WarmSet

  /// A set with its entries; nil when there is none.
  static func set(_ name: String, in transaction: any Transaction) async throws -> WarmSet? {
    let row = try await transaction.first(
      "SELECT body, entries FROM cache_warm_sets WHERE name = $1", [.text(name)])
    guard let row else { return nil }
    var set = try decode(row, "body")
    set.entries = try decode(row, "entries").entries
    return set
  }

  static func count(in transaction: any Transaction) async throws -> Int {
    try await transaction.first("SELECT count(*) AS number FROM cache_warm_sets")?.get("number")
      ?? 0
  }

  /// A page of the sets by name, without their entries.
  static func list(
    after name: String, limit: Int, in transaction: any Transaction
  ) async throws -> [WarmSet] {
    try await transaction.query(
      "SELECT body FROM cache_warm_sets WHERE name > $1 ORDER BY name LIMIT $2",
      [.text(name), .integer(Int64(limit))]
    ).map { try decode($0, "body") }
  }

  /// The names of the sets that are loaded when a server starts.
  static func namesOnStart(in transaction: any Transaction) async throws -> [String] {
    try await transaction.query(
      "SELECT name FROM cache_warm_sets WHERE on_start = 1 ORDER BY name"
    ).map { try $0.get("name") }
  }

  static func insert(_ set: WarmSet, _ change: Change) async throws {
    try await change.execute(
      """
      INSERT INTO cache_warm_sets (name, on_start, revision, body, entries)
      VALUES ($1, $2, $3, $4, $5)
      """, columns(set, change))
  }

  static func update(_ set: WarmSet, _ change: Change) async throws {
    try await change.execute(
      """
      UPDATE cache_warm_sets SET on_start = $2, revision = $3, body = $4, entries = $5
      WHERE name = $1
      """, columns(set, change))
  }

  static func delete(_ name: String, _ change: Change) async throws {
    try await change.execute("DELETE FROM cache_warm_sets WHERE name = $1", [.text(name)])
  }

  private static func columns(_ set: WarmSet, _ change: Change) -> [SQLValue] {
    var body = set
    body.entries = []
    return [
      .text(set.name), SQLValue(set.onStart), .integer(change.revision), .blob(body.encoded()),
      .blob(WarmSet(entries: set.entries).encoded()),
    ]
  }

  private static func decode(_ row: Row, _ column: String) throws -> WarmSet {
    do {
      // The limits for requests do not apply to what was encoded here.
      return try WarmSet(decoding: row.get(column, as: [UInt8].self), limits: .reply)
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored warm set does not decode.", cause: error)
    }
  }
}
