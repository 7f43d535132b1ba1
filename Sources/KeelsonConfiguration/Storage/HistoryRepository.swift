import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of the history of settings. Each function is part of the transaction it is handed.
enum HistoryRepository {
  typealias Value = KeelsonConfigurationV1.StoredValue

  /// One change of one setting.
  struct Entry: Sendable {
    var revision: Int64
    var key: String
    var time: UnixTime
    var action: String
    var actor: String
    var correlationID: String
    var before: Value?
    var after: Value?

    /// The oldest data key that one of the values is sealed with; 0: none is sealed.
    var dataKey: Int64 {
      [before, after].compactMap { $0?.dataKey }.filter { $0 != 0 }.min() ?? 0
    }
  }

  static func insert(_ entry: Entry, in scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO configuration_history (application, environment, revision, key, time, action,
        actor, correlation_id, data_key, before_value, after_value)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
      """,
      [
        .text(scope.application), .text(scope.environment), .integer(entry.revision),
        .text(entry.key), SQLValue(entry.time), .text(entry.action), .text(entry.actor),
        .text(entry.correlationID), .integer(entry.dataKey), SQLValue(entry.before?.encoded()),
        SQLValue(entry.after?.encoded()),
      ])
  }

  private static let columns = """
    revision, key, time, action, actor, correlation_id, before_value, after_value
    """

  private static func entry(_ row: Row) throws -> Entry {
    Entry(
      revision: try row.get(0), key: try row.get(1), time: try row.get(2), action: try row.get(3),
      actor: try row.get(4), correlationID: try row.get(5),
      before: try row.get(6, as: [UInt8]?.self).map { try StoredMessage.decode($0) },
      after: try row.get(7, as: [UInt8]?.self).map { try StoredMessage.decode($0) })
  }

  /// A place in a history, newest first: what comes after it is older, or has a higher key.
  struct Place: Sendable {
    var revision = Int64.max
    var key = ""
  }

  /// A page of the changes, newest first.
  ///
  /// - Parameter key: of this setting only; nil: of all.
  static func list(
    _ scope: ConfigurationScope, key: String?, after place: Place, since revision: Int64,
    limit: Int, in transaction: any Transaction
  ) async throws -> [Entry] {
    var sql = """
      SELECT \(columns) FROM configuration_history
      WHERE application = $1 AND environment = $2 AND revision > $3
        AND (revision < $4 OR (revision = $4 AND key > $5))
      """
    var parameters: [SQLValue] = [
      .text(scope.application), .text(scope.environment), .integer(revision),
      .integer(place.revision), .text(place.key),
    ]
    if let key {
      sql += " AND key = $6"
      parameters.append(.text(key))
    }
    parameters.append(SQLValue(limit))
    sql += " ORDER BY revision DESC, key LIMIT $\(parameters.count)"
    return try await transaction.query(sql, parameters).map(entry)
  }

  /// What was set before the first change after a revision, by key; nil: nothing. Keys that have
  /// not changed since are left out.
  static func valuesBefore(
    _ revision: Int64, in scope: ConfigurationScope, _ transaction: any Transaction
  ) async throws -> [String: Value?] {
    let rows = try await transaction.query(
      """
      SELECT changed.key, changed.before_value FROM configuration_history AS changed
      JOIN (
        SELECT key, min(revision) AS revision FROM configuration_history
        WHERE application = $1 AND environment = $2 AND revision > $3 GROUP BY key
      ) AS first ON first.key = changed.key AND first.revision = changed.revision
      WHERE changed.application = $1 AND changed.environment = $2
      """, [.text(scope.application), .text(scope.environment), .integer(revision)])
    var values: [String: Value?] = [:]
    for row in rows {
      let bytes = try row.get(1, as: [UInt8]?.self)
      values.updateValue(try bytes.map { try StoredMessage.decode($0) }, forKey: try row.get(0))
    }
    return values
  }

  /// Deletes all but the newest entries, whole revisions only.
  ///
  /// - Returns: the revision after which all changes are kept, and how many entries are left; nil
  ///   when there are no more than that.
  static func prune(
    _ scope: ConfigurationScope, keeping count: Int, in transaction: any Transaction
  ) async throws -> (floor: Int64, left: Int)? {
    let scoped: [SQLValue] = [.text(scope.application), .text(scope.environment)]
    guard
      let row = try await transaction.first(
        """
        SELECT revision FROM configuration_history WHERE application = $1 AND environment = $2
        ORDER BY revision DESC, key LIMIT 1 OFFSET $3
        """, scoped + [SQLValue(count)])
    else { return nil }
    let floor: Int64 = try row.get(0)
    try await transaction.execute(
      """
      DELETE FROM configuration_history
      WHERE application = $1 AND environment = $2 AND revision <= $3
      """, scoped + [.integer(floor)])
    let left = try await transaction.first(
      """
      SELECT count(*) AS number FROM configuration_history
      WHERE application = $1 AND environment = $2
      """, scoped)
    return (floor, try left?.get(0) ?? 0)
  }

  // MARK: Sealing anew

  /// Entries with a value that is sealed with a data key.
  static func sealed(
    with dataKey: Int64, in scope: ConfigurationScope, limit: Int, _ transaction: any Transaction
  ) async throws -> [Entry] {
    try await transaction.query(
      """
      SELECT \(columns) FROM configuration_history
      WHERE application = $1 AND environment = $2 AND data_key = $3 LIMIT $4
      """,
      [.text(scope.application), .text(scope.environment), .integer(dataKey), SQLValue(limit)]
    ).map(entry)
  }

  /// Entries of a key with a value that is not sealed.
  static func plain(
    _ key: String, in scope: ConfigurationScope, _ transaction: any Transaction
  ) async throws -> [Entry] {
    try await transaction.query(
      """
      SELECT \(columns) FROM configuration_history
      WHERE application = $1 AND environment = $2 AND key = $3
      """, [.text(scope.application), .text(scope.environment), .text(key)]
    ).map(entry).filter { entry in
      [entry.before, entry.after].contains { $0.map { !$0.isSealed } ?? false }
    }
  }

  static func update(_ entry: Entry, in scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      UPDATE configuration_history SET data_key = $5, before_value = $6, after_value = $7
      WHERE application = $1 AND environment = $2 AND revision = $3 AND key = $4
      """,
      [
        .text(scope.application), .text(scope.environment), .integer(entry.revision),
        .text(entry.key), .integer(entry.dataKey), SQLValue(entry.before?.encoded()),
        SQLValue(entry.after?.encoded()),
      ])
  }
}
