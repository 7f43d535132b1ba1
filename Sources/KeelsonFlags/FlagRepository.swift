import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The SQL of flags and their history. Each function is part of the transaction it is handed.
enum FlagRepository {
  typealias Flag = KeelsonFlagsV1.Flag

  /// A flag; nil when there is none.
  static func flag(_ set: String, _ key: String, in transaction: any Transaction) async throws
    -> Flag?
  {
    try await transaction.first(
      "SELECT body FROM flags WHERE flag_set = $1 AND key = $2", [.text(set), .text(key)]
    ).map { try StoredMessage.decode($0) }
  }

  /// Every flag of every set.
  static func all(in transaction: any Transaction) async throws -> [Flag] {
    try await transaction.query("SELECT body FROM flags").map { try StoredMessage.decode($0) }
  }

  static func count(_ set: String, in transaction: any Transaction) async throws -> Int {
    let row = try await transaction.first(
      "SELECT count(*) AS number FROM flags WHERE flag_set = $1", [.text(set)])
    return try row?.get("number") ?? 0
  }

  /// A page of a set, by key.
  struct Query: Sendable {
    var set: String
    var after = ""
    var limit: Int
    var tags: [String] = []
    var owner = ""
    var type: KeelsonFlagsV1.FlagType = .unspecified
    var text = ""
    var showsArchived = false
  }

  static func list(_ query: Query, in transaction: any Transaction) async throws -> [Flag] {
    var sql = "SELECT body FROM flags WHERE flag_set = $1 AND key > $2"
    var parameters: [SQLValue] = [.text(query.set), .text(query.after)]
    func parameter(_ value: SQLValue) -> String {
      parameters.append(value)
      return "$\(parameters.count)"
    }
    if !query.showsArchived { sql += " AND archived = 0" }
    if !query.owner.isEmpty { sql += " AND owner = \(parameter(.text(query.owner)))" }
    if query.type != .unspecified {
      sql += " AND type = \(parameter(.integer(Int64(query.type.rawValue))))"
    }
    if !query.text.isEmpty {
      sql += " AND search LIKE \(parameter(.text(pattern(query.text)))) ESCAPE '!'"
    }
    for tag in query.tags {
      sql += """
         AND EXISTS (SELECT 1 FROM flag_tags
        WHERE flag_tags.flag_set = flags.flag_set AND flag_tags.key = flags.key
        AND flag_tags.tag = \(parameter(.text(tag))))
        """
    }
    sql += " ORDER BY key LIMIT \(parameter(.integer(Int64(query.limit))))"
    return try await transaction.query(sql, parameters).map { try StoredMessage.decode($0) }
  }

  static func insert(_ flag: Flag, in transaction: any Transaction) async throws {
    try await transaction.execute(
      """
      INSERT INTO flags (flag_set, key, type, owner, search, archived, revision, body)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      """,
      [
        .text(flag.flagSet), .text(flag.key), .integer(Int64(flag.type.rawValue)),
        .text(flag.owner), .text(searchText(flag)), SQLValue(flag.archiveTime != nil),
        .integer(flag.revision), .blob(flag.encoded()),
      ])
    try await insertTags(flag, in: transaction)
  }

  static func update(_ flag: Flag, in transaction: any Transaction) async throws {
    try await transaction.execute(
      """
      UPDATE flags SET owner = $3, search = $4, archived = $5, revision = $6, body = $7
      WHERE flag_set = $1 AND key = $2
      """,
      [
        .text(flag.flagSet), .text(flag.key), .text(flag.owner), .text(searchText(flag)),
        SQLValue(flag.archiveTime != nil), .integer(flag.revision), .blob(flag.encoded()),
      ])
    try await transaction.execute(
      "DELETE FROM flag_tags WHERE flag_set = $1 AND key = $2",
      [.text(flag.flagSet), .text(flag.key)])
    try await insertTags(flag, in: transaction)
  }

  private static func insertTags(_ flag: Flag, in transaction: any Transaction) async throws {
    for tag in Set(flag.tags) {
      try await transaction.execute(
        "INSERT INTO flag_tags (flag_set, tag, key) VALUES ($1, $2, $3)",
        [.text(flag.flagSet), .text(tag), .text(flag.key)])
    }
  }

  // MARK: History

  static func insertHistory(
    _ entry: KeelsonFlagsV1.FlagHistoryEntry, time: UnixTime, flag: Flag,
    in transaction: any Transaction
  ) async throws {
    try await transaction.execute(
      """
      INSERT INTO flag_history
        (flag_set, key, revision, time, action, actor, correlation_id, body)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      """,
      [
        .text(flag.flagSet), .text(flag.key), .integer(entry.revision),
        .integer(time.microseconds), .text(entry.action), .text(entry.actor),
        .text(entry.correlationId), .blob(flag.encoded()),
      ])
  }

  /// The changes of a flag before a revision, newest first.
  static func history(
    _ set: String, _ key: String, before revision: Int64, limit: Int,
    in transaction: any Transaction
  ) async throws -> [KeelsonFlagsV1.FlagHistoryEntry] {
    let rows = try await transaction.query(
      """
      SELECT revision, time, action, actor, correlation_id, body FROM flag_history
      WHERE flag_set = $1 AND key = $2 AND revision < $3 ORDER BY revision DESC LIMIT $4
      """,
      [.text(set), .text(key), .integer(revision), .integer(Int64(limit))])
    return try rows.map { row in
      var entry = KeelsonFlagsV1.FlagHistoryEntry()
      entry.revision = try row.get("revision")
      entry.time = GoogleProtobuf.Timestamp(try row.get("time", as: UnixTime.self))
      entry.action = try row.get("action")
      entry.actor = try row.get("actor")
      entry.correlationId = try row.get("correlation_id")
      entry.flag = try StoredMessage.decode(row) as Flag
      return entry
    }
  }

  // MARK: Text search

  /// What `query` is looked for in: key and description, lower case.
  private static func searchText(_ flag: Flag) -> String {
    "\(flag.key)\n\(flag.description)".lowercased()
  }

  private static func pattern(_ text: String) -> String {
    var escaped = ""
    for character in text.lowercased() {
      if character == "%" || character == "_" || character == "!" { escaped.append("!") }
      escaped.append(character)
    }
    return "%\(escaped)%"
  }
}

/// Messages as they stand in a `body` column.
enum StoredMessage {
  /// The limits for what was encoded here: those for requests do not apply.
  static let limits = DecodingLimits.reply

  static func decode<M: Message>(_ row: Row) throws -> M {
    do {
      return try M(decoding: row.get("body", as: [UInt8].self), limits: limits)
    } catch let error as RPCError {
      throw StoreError(.corrupt, "A stored \(M.self) does not decode.", cause: error)
    }
  }
}
