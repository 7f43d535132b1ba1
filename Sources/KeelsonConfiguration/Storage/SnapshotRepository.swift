import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of snapshots. Each function is part of the transaction it is handed.
enum SnapshotRepository {
  typealias Snapshot = KeelsonConfigurationV1.Snapshot
  typealias Stored = KeelsonConfigurationV1.StoredSetting

  static func snapshot(
    _ scope: ConfigurationScope, _ name: String, in transaction: any Transaction
  ) async throws -> Snapshot? {
    try await transaction.first(
      """
      SELECT body FROM configuration_snapshots
      WHERE application = $1 AND environment = $2 AND name = $3
      """, place(scope, name)
    ).map { try StoredMessage.decode($0) }
  }

  static func list(
    _ scope: ConfigurationScope, after name: String, limit: Int, in transaction: any Transaction
  ) async throws -> [Snapshot] {
    try await transaction.query(
      """
      SELECT body FROM configuration_snapshots
      WHERE application = $1 AND environment = $2 AND name > $3 ORDER BY name LIMIT $4
      """, place(scope, name) + [SQLValue(limit)]
    ).map { try StoredMessage.decode($0) }
  }

  static func count(_ scope: ConfigurationScope, in transaction: any Transaction) async throws
    -> Int
  {
    try await transaction.first(
      """
      SELECT count(*) AS number FROM configuration_snapshots
      WHERE application = $1 AND environment = $2
      """, [.text(scope.application), .text(scope.environment)]
    )?.get(0) ?? 0
  }

  /// The statements that keep what is set now under the snapshot's name.
  static func insert(_ snapshot: Snapshot) -> [SQLStatement] {
    let scope = ConfigurationScope(
      application: snapshot.application, environment: snapshot.environment)
    return [
      SQLStatement(
        """
        INSERT INTO configuration_snapshots (application, environment, name, body)
        VALUES ($1, $2, $3, $4)
        """, place(scope, snapshot.name) + [.blob(snapshot.encoded())]),
      SQLStatement(
        """
        INSERT INTO configuration_snapshot_settings
          (application, environment, name, key, data_key, body)
        SELECT application, environment, CAST($3 AS TEXT), key, data_key, body
        FROM configuration_settings WHERE application = $1 AND environment = $2
        """, place(scope, snapshot.name)),
    ]
  }

  static func delete(_ scope: ConfigurationScope, _ name: String) -> [SQLStatement] {
    ["configuration_snapshot_settings", "configuration_snapshots"].map { table in
      SQLStatement(
        "DELETE FROM \(table) WHERE application = $1 AND environment = $2 AND name = $3",
        place(scope, name))
    }
  }

  /// A page of the settings in a snapshot, by key; all of them without a limit.
  static func settings(
    _ scope: ConfigurationScope, _ name: String, after key: String = "", limit: Int = Int.max,
    in transaction: any Transaction
  ) async throws -> [Stored] {
    try await transaction.query(
      """
      SELECT body FROM configuration_snapshot_settings
      WHERE application = $1 AND environment = $2 AND name = $3 AND key > $4
      ORDER BY key LIMIT $5
      """, place(scope, name) + [.text(key), SQLValue(limit)]
    ).map { try StoredMessage.decode($0) }
  }

  /// Settings in snapshots that are sealed with a data key.
  static func sealed(
    with dataKey: Int64, in scope: ConfigurationScope, limit: Int, _ transaction: any Transaction
  ) async throws -> [(name: String, setting: Stored)] {
    try await transaction.query(
      """
      SELECT name, body FROM configuration_snapshot_settings
      WHERE application = $1 AND environment = $2 AND data_key = $3 LIMIT $4
      """,
      [.text(scope.application), .text(scope.environment), .integer(dataKey), SQLValue(limit)]
    ).map { (try $0.get(0), try StoredMessage.decode($0)) }
  }

  /// One key's settings in snapshots.
  static func settings(
    ofKey key: String, in scope: ConfigurationScope, _ transaction: any Transaction
  ) async throws -> [(name: String, setting: Stored)] {
    try await transaction.query(
      """
      SELECT name, body FROM configuration_snapshot_settings
      WHERE application = $1 AND environment = $2 AND key = $3
      """, [.text(scope.application), .text(scope.environment), .text(key)]
    ).map { (try $0.get(0), try StoredMessage.decode($0)) }
  }

  static func update(_ setting: Stored, of name: String, in scope: ConfigurationScope)
    -> SQLStatement
  {
    SQLStatement(
      """
      UPDATE configuration_snapshot_settings SET data_key = $5, body = $6
      WHERE application = $1 AND environment = $2 AND name = $3 AND key = $4
      """,
      place(scope, name) + [
        .text(setting.key), .integer(setting.value?.dataKey ?? 0), .blob(setting.encoded()),
      ])
  }

  private static func place(_ scope: ConfigurationScope, _ name: String) -> [SQLValue] {
    [.text(scope.application), .text(scope.environment), .text(name)]
  }
}
