package import KeelsonAuditTrail
import KeelsonCore

/// The table of audit entries.
package enum AuditEntries {
  /// The columns in the order in which ``entry(_:)`` reads them.
  package static let columns = """
    sequence, entry_id, time, occur_time, revision, recorder, actor, action, entity_type, \
    entity_id, before_state, after_state, attributes, category, outcome, correlation_id, peer, \
    user_agent, subject_key_id, sealed, previous_hash, hash
    """

  /// The entry that a row with ``columns`` holds.
  ///
  /// - Throws: ``StoreError`` with code corrupt when it cannot be one.
  package static func entry(_ row: Row) throws -> AuditEntry {
    guard let outcome = AuditEntry.Outcome(rawValue: try row.get(14)) else {
      throw StoreError(
        .corrupt, "The audit entry \(try row.get(0, as: Int64.self)) has no outcome.")
    }
    var entry = AuditEntry(
      id: try row.get(1), time: try row.get(2), occurTime: try row.get(3),
      revision: try row.get(4), recorder: try row.get(5), actor: try row.get(6),
      action: try row.get(7), entityType: try row.get(8), entityID: try row.get(9),
      before: try row.get(10), after: try row.get(11), attributes: try row.get(12),
      category: try row.get(13), outcome: outcome, correlationID: try row.get(15),
      peer: try row.get(16), userAgent: try row.get(17), subjectKeyID: try row.get(18),
      sealed: try row.get(19))
    entry.sequence = try row.get(0)
    entry.previousHash = try row.get(20)
    entry.hash = try row.get(21)
    return entry
  }

  /// For SQLite. What guards the table costs it some time for each statement, so there is a large one.
  private static let insertion = RowInsertion(
    into: "audit_entries", columns: columns, sizes: [1_000] + RowInsertion.sizes, isNumbered: false)

  /// The statements that insert entries, as few as it takes.
  static func insertions(of entries: [AuditEntry], _ dialect: Dialect) -> [SQLStatement] {
    guard !entries.isEmpty else { return [] }
    switch dialect {
    case .sqlite:
      return insertion.statements(entries) { entry in
        var sink = ParameterSink()
        put(entry, into: &sink)
        return sink.values
      }
    // A column is one parameter: thousands of parameters cost it more than the rows.
    case .postgreSQL:
      var sink = ArraySink(rows: entries.count)
      for entry in entries { put(entry, into: &sink) }
      return [SQLStatement(insertionOfArrays, sink.arrays.map { .blob($0.bytes) })]
    }
  }

  /// Whether a text of an entry holds a NUL character, which PostgreSQL does not store.
  static func hasNUL(_ entry: AuditEntry) -> Bool {
    var sink = NULSink()
    put(entry, into: &sink)
    return sink.hasNUL
  }

  /// In the order of ``columns``.
  private static let columnTypes: [PostgresArray.Element] =
    [.bigint, .text, .bigint, .bigint, .bigint]
    + Array(repeating: .text, count: 14) + [.bytea, .bytea, .bytea]

  private static let insertionOfArrays: String = {
    let arrays = columnTypes.enumerated().map { "CAST($\($0.offset + 1) AS \($0.element.name)[])" }
    return "INSERT INTO audit_entries (\(columns)) SELECT * FROM unnest("
      + arrays.joined(separator: ", ") + ")"
  }()

  /// Hands on the values of an entry in the order of ``columns``.
  private static func put(_ entry: AuditEntry, into sink: inout some EntrySink) {
    sink.put(entry.sequence)
    sink.put(entry.id)
    sink.put(entry.time.microseconds)
    sink.put(entry.occurTime?.microseconds)
    sink.put(entry.revision)
    sink.put(entry.recorder)
    sink.put(entry.actor)
    sink.put(entry.action)
    sink.put(entry.entityType)
    sink.put(entry.entityID)
    sink.put(entry.before)
    sink.put(entry.after)
    sink.put(entry.attributes)
    sink.put(entry.category)
    sink.put(entry.outcome.rawValue)
    sink.put(entry.correlationID)
    sink.put(entry.peer)
    sink.put(entry.userAgent)
    sink.put(entry.subjectKeyID)
    sink.put(entry.sealed)
    sink.put(entry.previousHash)
    sink.put(entry.hash)
  }

  /// Takes the values of entries, one after the other.
  private protocol EntrySink {
    mutating func put(_ value: Int64?)
    mutating func put(_ value: String?)
    mutating func put(_ value: [UInt8]?)
  }

  /// As the parameters of a row.
  private struct ParameterSink: EntrySink {
    var values: [SQLValue] = []

    init() { values.reserveCapacity(AuditEntries.columnTypes.count) }

    mutating func put(_ value: Int64?) { values.append(SQLValue(value)) }
    mutating func put(_ value: String?) { values.append(SQLValue(value)) }
    mutating func put(_ value: [UInt8]?) { values.append(SQLValue(value)) }
  }

  /// As columns.
  private struct ArraySink: EntrySink {
    var arrays: [PostgresArray]
    private var column = 0

    init(rows: Int) {
      arrays = AuditEntries.columnTypes.map { PostgresArray(of: $0, count: rows) }
    }

    mutating func put(_ value: Int64?) { arrays[next()].append(value) }
    mutating func put(_ value: String?) { arrays[next()].append(value) }
    mutating func put(_ value: [UInt8]?) { arrays[next()].append(value) }

    private mutating func next() -> Int {
      defer { column = (column + 1) % arrays.count }
      return column
    }
  }

  private struct NULSink: EntrySink {
    var hasNUL = false

    mutating func put(_ value: Int64?) {}
    mutating func put(_ value: String?) {
      if let value, value.utf8.contains(0) { hasNUL = true }
    }
    mutating func put(_ value: [UInt8]?) {}
  }

  /// Those entries of these identifiers that are there.
  package static func entries(
    of ids: [String], in transaction: any Transaction
  ) async throws -> [String: AuditEntry] {
    var known: [String: AuditEntry] = [:]
    var rest = ids[...]
    for size in [1_000] + RowInsertion.sizes {
      let places = (1...size).map { "$\($0)" }.joined(separator: ", ")
      while rest.count >= size {
        let rows = try await transaction.query(
          "SELECT \(columns) FROM audit_entries WHERE entry_id IN (\(places))",
          rest.prefix(size).map { .text($0) })
        for entry in try rows.map(entry) { known[entry.id] = entry }
        rest = rest.dropFirst(size)
      }
    }
    return known
  }

  /// The entries after a sequence number, in order.
  package static func select(
    after sequence: Int64, limit: Int, in transaction: any Transaction
  ) async throws -> [AuditEntry] {
    try await transaction.query(
      "SELECT \(columns) FROM audit_entries WHERE sequence > $1 ORDER BY sequence LIMIT $2",
      [.integer(sequence), SQLValue(limit)]
    ).map(entry)
  }
}
