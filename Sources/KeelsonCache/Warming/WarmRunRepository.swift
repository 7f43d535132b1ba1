import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of runs. Each function is part of the transaction it is handed.
enum WarmRunRepository {
  typealias Run = KeelsonCacheV1.WarmSetRun

  /// A run, and what nobody but servers asks for.
  struct Stored: Sendable, Hashable {
    var run: Run
    /// The process that loads.
    var owner: String
    var isCancelled: Bool
  }

  private static let columns = "body, owner, is_cancelled"

  /// A run of a set, running or not; nil when there is none.
  ///
  /// - Parameter id: empty: one that has not ended, or else the newest.
  static func run(
    _ id: String, of set: String, in transaction: any Transaction
  ) async throws -> Stored? {
    if id.isEmpty {
      return try await transaction.first(
        """
        SELECT \(columns) FROM cache_warm_runs WHERE warm_set = $1
        ORDER BY is_running DESC, id DESC LIMIT 1
        """, [.text(set)]
      ).map(stored)
    }
    return try await transaction.first(
      "SELECT \(columns) FROM cache_warm_runs WHERE warm_set = $1 AND id = $2",
      [.text(set), .text(id)]
    ).map(stored)
  }

  /// The runs of a set that have not ended, the newest first.
  static func running(
    of set: String, in transaction: any Transaction
  ) async throws -> [Stored] {
    try await transaction.query(
      """
      SELECT \(columns) FROM cache_warm_runs WHERE warm_set = $1 AND is_running = 1
      ORDER BY id DESC
      """, [.text(set)]
    ).map(stored)
  }

  /// A page of the runs of a set, or of all where its name is empty, the newest first.
  ///
  /// - Parameter id: of the last one of the page before; empty for the first page.
  static func list(
    of set: String, before id: String, limit: Int, in transaction: any Transaction
  ) async throws -> [Run] {
    // Behind every id.
    let before: SQLValue = .text(id.isEmpty ? "g" : id)
    let rows =
      set.isEmpty
      ? try await transaction.query(
        "SELECT body FROM cache_warm_runs WHERE id < $1 ORDER BY id DESC LIMIT $2",
        [before, .integer(Int64(limit))])
      : try await transaction.query(
        """
        SELECT body FROM cache_warm_runs WHERE warm_set = $3 AND id < $1
        ORDER BY id DESC LIMIT $2
        """, [before, .integer(Int64(limit)), .text(set)])
    return try rows.map(decode)
  }

  /// The runs whose servers have not been heard of in time; what does not decode is left.
  static func expired(at time: UnixTime, in transaction: any Transaction) async throws -> [Run] {
    try await transaction.query(
      """
      SELECT body FROM cache_warm_runs WHERE is_running = 1 AND lease_expire_time < $1
      ORDER BY id LIMIT 100
      """, [SQLValue(time)]
    ).compactMap { try? decode($0) }
  }

  /// Adds a run that begins, and forgets the oldest of its set that have ended.
  ///
  /// - Parameter kept: how many of the set are kept.
  static func insert(
    _ run: Run, owner: String, until leaseEnd: UnixTime, kept: Int, _ change: Change
  ) async throws {
    try await change.execute(
      """
      INSERT INTO cache_warm_runs
        (id, warm_set, owner, is_running, is_cancelled, lease_expire_time, body)
      VALUES ($1, $2, $3, 1, 0, $4, $5)
      """,
      [
        .text(run.id), .text(run.warmSet), .text(owner), SQLValue(leaseEnd), .blob(run.encoded()),
      ])
    try await change.execute(
      """
      DELETE FROM cache_warm_runs WHERE warm_set = $1 AND is_running = 0 AND id <= (
        SELECT id FROM cache_warm_runs WHERE warm_set = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)
      """, [.text(run.warmSet), .integer(Int64(kept))])
  }

  /// Says how far a run is and that its server lives, also when others have thought that it does not.
  ///
  /// - Returns: whether it is to go on: not when somebody has called it off, or deleted its set.
  static func prolong(
    _ run: Run, until leaseEnd: UnixTime, in transaction: any Transaction
  ) async throws -> Bool {
    try await transaction.execute(
      """
      UPDATE cache_warm_runs SET lease_expire_time = $2, body = $3, is_running = 1 WHERE id = $1
      """,
      [.text(run.id), SQLValue(leaseEnd), .blob(run.encoded())])
    let row = try await transaction.first(
      "SELECT is_cancelled FROM cache_warm_runs WHERE id = $1", [.text(run.id)])
    return try row?.get("is_cancelled") == 0
  }

  static func callOff(_ run: Run, _ change: Change) async throws {
    try await change.execute(
      "UPDATE cache_warm_runs SET is_cancelled = 1 WHERE id = $1", [.text(run.id)])
  }

  /// Keeps what a run has come to.
  static func end(_ run: Run, _ change: Change) async throws {
    try await change.execute(
      "UPDATE cache_warm_runs SET is_running = 0, body = $2 WHERE id = $1",
      [.text(run.id), .blob(run.encoded())])
  }

  /// Forgets the runs of a set that is deleted.
  static func deleteAll(of set: String, _ change: Change) async throws {
    try await change.execute("DELETE FROM cache_warm_runs WHERE warm_set = $1", [.text(set)])
  }

  private static func stored(_ row: Row) throws -> Stored {
    Stored(
      run: try decode(row), owner: try row.get("owner"),
      isCancelled: try row.get("is_cancelled") == 1)
  }

  private static func decode(_ row: Row) throws -> Run {
    do {
      return try Run(decoding: row.get("body", as: [UInt8].self), limits: .reply)
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored run of a warm set does not decode.", cause: error)
    }
  }
}
