import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of applications and their environments. Each function is part of the transaction it is
/// handed.
enum EnvironmentRepository {
  typealias Schema = KeelsonConfigurationV1.Schema

  /// How the settings of an application in one environment stand.
  struct Environment: Sendable, Hashable {
    /// Of the last change.
    var revision: Int64 = 0
    /// Settings set through the API.
    var settings = 0
    /// Of their keys and values, as ``KeelsonConfigurationV1/StoredSetting/storedBytes`` counts.
    var bytes = 0
    /// Entries of history.
    var history = 0
    /// The changes after this revision are all kept.
    var historyFloor: Int64 = 0
  }

  static func environment(
    _ scope: ConfigurationScope, in transaction: any Transaction
  ) async throws -> Environment? {
    try await transaction.first(
      """
      SELECT revision, settings, bytes, history, history_floor FROM configuration_environments
      WHERE application = $1 AND environment = $2
      """, [.text(scope.application), .text(scope.environment)]
    ).map { row in
      Environment(
        revision: try row.get(0), settings: try row.get(1), bytes: try row.get(2),
        history: try row.get(3), historyFloor: try row.get(4))
    }
  }

  static func set(_ environment: Environment, of scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO configuration_environments
        (application, environment, revision, settings, bytes, history, history_floor)
      VALUES ($1, $2, $3, $4, $5, $6, $7)
      ON CONFLICT (application, environment)
      DO UPDATE SET revision = excluded.revision, settings = excluded.settings,
        bytes = excluded.bytes, history = excluded.history, history_floor = excluded.history_floor
      """,
      [
        .text(scope.application), .text(scope.environment), .integer(environment.revision),
        SQLValue(environment.settings), SQLValue(environment.bytes),
        SQLValue(environment.history), .integer(environment.historyFloor),
      ])
  }

  /// Adds to the bytes of an environment's settings what sealing them takes.
  static func add(bytes: Int, to scope: ConfigurationScope) -> SQLStatement {
    SQLStatement(
      """
      UPDATE configuration_environments SET bytes = bytes + $3
      WHERE application = $1 AND environment = $2
      """, [.text(scope.application), .text(scope.environment), SQLValue(bytes)])
  }

  /// The names of an application's environments that have or had settings.
  static func environments(
    of application: String, in transaction: any Transaction
  ) async throws -> [String] {
    try await transaction.query(
      """
      SELECT environment FROM configuration_environments WHERE application = $1
      ORDER BY environment
      """, [.text(application)]
    ).map { try $0.get(0) }
  }

  /// Every environment of every application.
  static func all(in transaction: any Transaction) async throws
    -> [(ConfigurationScope, revision: Int64)]
  {
    try await transaction.query(
      "SELECT application, environment, revision FROM configuration_environments"
    ).map { row in
      (
        ConfigurationScope(application: try row.get(0), environment: try row.get(1)),
        try row.get(2)
      )
    }
  }

  // MARK: Applications

  /// An application's schema; nil when there is no such application.
  static func schema(of application: String, in transaction: any Transaction) async throws
    -> Schema?
  {
    try await transaction.first(
      "SELECT body FROM configuration_applications WHERE application = $1", [.text(application)]
    ).map { try StoredMessage.decode($0) }
  }

  /// The revision of an application's schema; nil when there is no such application.
  static func schemaRevision(
    of application: String, in transaction: any Transaction
  ) async throws -> Int64? {
    try await transaction.first(
      "SELECT schema_revision FROM configuration_applications WHERE application = $1",
      [.text(application)]
    ).map { try $0.get(0) }
  }

  static func schemas(in transaction: any Transaction) async throws -> [Schema] {
    try await transaction.query("SELECT body FROM configuration_applications").map {
      try StoredMessage.decode($0)
    }
  }

  static func applications(in transaction: any Transaction) async throws -> Int {
    try await transaction.first("SELECT count(*) AS number FROM configuration_applications")?
      .get(0) ?? 0
  }

  static func set(_ schema: Schema) -> SQLStatement {
    SQLStatement(
      """
      INSERT INTO configuration_applications (application, schema_revision, body)
      VALUES ($1, $2, $3)
      ON CONFLICT (application)
      DO UPDATE SET schema_revision = excluded.schema_revision, body = excluded.body
      """,
      [.text(schema.application), .integer(schema.revision), .blob(schema.encoded())])
  }
}
