import KeelsonPostgres

extension ServerLimits {
  /// Those of PostgreSQL. Changes and reads that wait have the limits of either store.
  static let database: [ServerLimit] = [
    count(
      "database-connections", \.postgres.readConnections, 1...1_000,
      "connections to PostgreSQL that read", "reads wait"),
    count(
      "changes-per-commit", \.postgres.writesPerCommit, 1...10_000,
      "changes that share a commit in PostgreSQL", "they go into the next"),
    duration(
      "database-batch-time", \.postgres.batchTime, 1...10_000,
      "gathering changes for a commit in PostgreSQL", "another server has its turn"),
    duration(
      "database-connect-timeout", \.postgres.connectTimeout, 2_000...600_000,
      "connecting to PostgreSQL", "UNAVAILABLE with RetryInfo"),
    duration(
      "database-statement-timeout", \.postgres.statementTimeout, 100...3_600_000,
      "a statement in PostgreSQL", "DEADLINE_EXCEEDED"),
    duration(
      "database-idle-timeout", \.postgres.idleTransactionTimeout, 1_000...3_600_000,
      "a server that hangs and holds PostgreSQL's lock", "its changes are rolled back"),
    duration(
      "database-outcome-timeout", \.postgres.outcomeTimeout, 1...600_000,
      "looking for the outcome of a commit whose connection was lost",
      "UNAVAILABLE that says it is unknown"),
  ]
}
