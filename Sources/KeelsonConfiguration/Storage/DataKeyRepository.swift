import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// The SQL of data keys, which are stored wrapped. Each function is part of the transaction it is
/// handed.
enum DataKeyRepository {
  /// A data key as it is stored.
  struct Stored: Sendable, Hashable {
    /// 1, 2, 3, ... within its scope; the highest seals.
    var number: Int64
    var wrapped: WrappedKey
  }

  static func keys(_ scope: ConfigurationScope, in transaction: any Transaction) async throws
    -> [Stored]
  {
    try await transaction.query(
      """
      SELECT number, wrapping_key, wrapped FROM configuration_data_keys
      WHERE application = $1 AND environment = $2 ORDER BY number
      """, [.text(scope.application), .text(scope.environment)]
    ).map { row in
      Stored(
        number: try row.get(0),
        wrapped: WrappedKey(keyID: try row.get(1), bytes: try row.get(2)))
    }
  }

  /// The number of the data key that seals now; 0 when there is none.
  static func current(_ scope: ConfigurationScope, in transaction: any Transaction) async throws
    -> Int64
  {
    try await transaction.first(
      """
      SELECT coalesce(max(number), 0) AS number FROM configuration_data_keys
      WHERE application = $1 AND environment = $2
      """, [.text(scope.application), .text(scope.environment)]
    )?.get(0) ?? 0
  }

  static func insert(_ key: Stored, time: UnixTime, in scope: ConfigurationScope)
    -> SQLStatement
  {
    SQLStatement(
      """
      INSERT INTO configuration_data_keys
        (application, environment, number, time, wrapping_key, wrapped)
      VALUES ($1, $2, $3, $4, $5, $6)
      """,
      [
        .text(scope.application), .text(scope.environment), .integer(key.number),
        SQLValue(time), .text(key.wrapped.keyID), .blob(key.wrapped.bytes),
      ])
  }

  /// - Parameter old: what it was wrapped with; where that is another now, somebody else was first.
  static func update(_ key: Stored, from old: String, in scope: ConfigurationScope)
    -> SQLStatement
  {
    SQLStatement(
      """
      UPDATE configuration_data_keys SET wrapping_key = $4, wrapped = $5
      WHERE application = $1 AND environment = $2 AND number = $3 AND wrapping_key = $6
      """,
      [
        .text(scope.application), .text(scope.environment), .integer(key.number),
        .text(key.wrapped.keyID), .blob(key.wrapped.bytes), .text(old),
      ])
  }

  /// Deletes the keys below a number: nothing is sealed with them any more.
  static func delete(below number: Int64, in scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      DELETE FROM configuration_data_keys
      WHERE application = $1 AND environment = $2 AND number < $3
      """, [.text(scope.application), .text(scope.environment), .integer(number)])
  }

  /// How many values are sealed with a data key older than this one.
  static func sealedValues(
    before number: Int64, in scope: ConfigurationScope, _ transaction: any Transaction
  ) async throws -> Int {
    try await sealedValues("data_key > 0 AND data_key < $3", number, scope, transaction)
  }

  /// How many values are sealed with a data key.
  static func sealedValues(
    with number: Int64, in scope: ConfigurationScope, _ transaction: any Transaction
  ) async throws -> Int {
    try await sealedValues("data_key = $3", number, scope, transaction)
  }

  private static func sealedValues(
    _ condition: String, _ number: Int64, _ scope: ConfigurationScope,
    _ transaction: any Transaction
  ) async throws -> Int {
    var count = 0
    for table in [
      "configuration_settings", "configuration_history", "configuration_snapshot_settings",
    ] {
      count +=
        try await transaction.first(
          """
          SELECT count(*) AS number FROM \(table)
          WHERE application = $1 AND environment = $2 AND \(condition)
          """, [.text(scope.application), .text(scope.environment), .integer(number)]
        )?.get(0) ?? 0
    }
    return count
  }
}
