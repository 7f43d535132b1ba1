import KeelsonAPI
import KeelsonStore

/// The SQL of segments and flag sets. Each function is part of the transaction it is handed.
enum SegmentRepository {
  typealias Segment = KeelsonFlagsV1.Segment

  static func segment(_ set: String, _ key: String, in transaction: any Transaction) async throws
    -> Segment?
  {
    try await transaction.first(
      "SELECT body FROM flag_segments WHERE flag_set = $1 AND key = $2", [.text(set), .text(key)]
    ).map { try StoredMessage.decode($0) }
  }

  /// A page of a set, by key; every segment of every set when no set is named.
  static func list(
    _ set: String?, after: String = "", limit: Int? = nil, in transaction: any Transaction
  ) async throws -> [Segment] {
    guard let set else {
      return try await transaction.query("SELECT body FROM flag_segments").map {
        try StoredMessage.decode($0)
      }
    }
    return try await transaction.query(
      """
      SELECT body FROM flag_segments WHERE flag_set = $1 AND key > $2 ORDER BY key LIMIT $3
      """,
      [.text(set), .text(after), .integer(Int64(limit ?? .max))]
    ).map { try StoredMessage.decode($0) }
  }

  static func insert(_ segment: Segment, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "INSERT INTO flag_segments (flag_set, key, revision, body) VALUES ($1, $2, $3, $4)",
      [
        .text(segment.flagSet), .text(segment.key), .integer(segment.revision),
        .blob(segment.encoded()),
      ])
  }

  static func update(_ segment: Segment, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "UPDATE flag_segments SET revision = $3, body = $4 WHERE flag_set = $1 AND key = $2",
      [
        .text(segment.flagSet), .text(segment.key), .integer(segment.revision),
        .blob(segment.encoded()),
      ])
  }

  static func delete(_ segment: Segment, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "DELETE FROM flag_segments WHERE flag_set = $1 AND key = $2",
      [.text(segment.flagSet), .text(segment.key)])
  }
}

/// The SQL of flag sets.
enum FlagSetRepository {
  typealias FlagSet = KeelsonFlagsV1.FlagSet

  static func flagSet(_ key: String, in transaction: any Transaction) async throws -> FlagSet? {
    try await transaction.first("SELECT body FROM flag_sets WHERE key = $1", [.text(key)]).map {
      try StoredMessage.decode($0)
    }
  }

  /// A page of the sets, by key.
  static func list(
    after: String = "", limit: Int = .max, in transaction: any Transaction
  ) async throws -> [FlagSet] {
    try await transaction.query(
      "SELECT body FROM flag_sets WHERE key > $1 ORDER BY key LIMIT $2",
      [.text(after), .integer(Int64(limit))]
    ).map { try StoredMessage.decode($0) }
  }

  static func insert(_ set: FlagSet, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "INSERT INTO flag_sets (key, revision, body) VALUES ($1, $2, $3)",
      [.text(set.key), .integer(set.revision), .blob(set.encoded())])
  }

  static func update(_ set: FlagSet, in transaction: any Transaction) async throws {
    try await transaction.execute(
      "UPDATE flag_sets SET revision = $2, body = $3 WHERE key = $1",
      [.text(set.key), .integer(set.revision), .blob(set.encoded())])
  }
}
