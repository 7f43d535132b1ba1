import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of settings. Each function is part of the transaction it is handed.
enum SettingRepository {
  typealias Stored = KeelsonConfigurationV1.StoredSetting

  /// How many keys one statement asks for.
  private static let keysPerStatement = 50

  /// The settings of these keys that there are.
  static func settings(
    _ scope: ConfigurationScope, keys: [String], in transaction: any Transaction
  ) async throws -> [String: Stored] {
    var found: [String: Stored] = [:]
    for start in stride(from: 0, to: keys.count, by: keysPerStatement) {
      var part = Array(keys[start..<min(start + keysPerStatement, keys.count)])
      // One statement for one key and one for many, so that few are prepared.
      let width = part.count == 1 ? 1 : keysPerStatement
      while part.count < width { part.append(part[0]) }
      let places = (0..<width).map { "$\($0 + 3)" }.joined(separator: ", ")
      let rows = try await transaction.query(
        """
        SELECT body FROM configuration_settings
        WHERE application = $1 AND environment = $2 AND key IN (\(places))
        """, [.text(scope.application), .text(scope.environment)] + part.map { .text($0) })
      for row in rows {
        let setting: Stored = try StoredMessage.decode(row)
        found[setting.key] = setting
      }
    }
    return found
  }

  /// All settings of a scope.
  static func all(_ scope: ConfigurationScope, in transaction: any Transaction) async throws
    -> [Stored]
  {
    try await transaction.query(
      """
      SELECT body FROM configuration_settings WHERE application = $1 AND environment = $2
      ORDER BY key
      """, [.text(scope.application), .text(scope.environment)]
    ).map { try StoredMessage.decode($0) }
  }

  /// Every setting there is.
  static func everything(in transaction: any Transaction) async throws
    -> [(ConfigurationScope, Stored)]
  {
    try await transaction.query(
      "SELECT application, environment, body FROM configuration_settings"
    ).map { row in
      (
        ConfigurationScope(application: try row.get(0), environment: try row.get(1)),
        try StoredMessage.decode(row)
      )
    }
  }

  static func set(_ setting: Stored, in scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO configuration_settings (application, environment, key, data_key, body)
      VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (application, environment, key)
      DO UPDATE SET data_key = excluded.data_key, body = excluded.body
      """,
      [
        .text(scope.application), .text(scope.environment), .text(setting.key),
        .integer(setting.value?.dataKey ?? 0), .blob(setting.encoded()),
      ])
  }

  static func delete(_ key: String, in scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      DELETE FROM configuration_settings
      WHERE application = $1 AND environment = $2 AND key = $3
      """, [.text(scope.application), .text(scope.environment), .text(key)])
  }
}

extension SettingRepository {
  /// Settings that are sealed with a data key.
  static func sealed(
    with dataKey: Int64, in scope: ConfigurationScope, limit: Int, _ transaction: any Transaction
  ) async throws -> [Stored] {
    try await transaction.query(
      """
      SELECT body FROM configuration_settings
      WHERE application = $1 AND environment = $2 AND data_key = $3 LIMIT $4
      """,
      [.text(scope.application), .text(scope.environment), .integer(dataKey), SQLValue(limit)]
    ).map { try StoredMessage.decode($0) }
  }
}
