import KeelsonCore
import KeelsonStore

/// The SQL of events, read only. Each function is part of the transaction it is handed.
enum EventRepository {
  /// All but the payload, which is for the service that wrote it.
  private static let columns =
    "revision, time, type, subject, data, actor, correlation_id, traceparent"

  private static func event(_ row: Row) throws -> CommittedEvent {
    CommittedEvent(
      revision: try row.get(0), time: try row.get(1), type: try row.get(2),
      subject: try row.get(3), data: JSONText(verbatim: try row.get(4)), payload: [],
      actor: try row.get(5), correlationID: try row.get(6), traceparent: try row.get(7))
  }

  /// Which revisions there are: from one more than `compacted` to `last`.
  struct Bounds: Sendable {
    /// The newest.
    var last: Int64
    /// The newest that has been removed.
    var compacted: Int64
  }

  static func bounds(in transaction: any Transaction) async throws -> Bounds {
    let row = try await transaction.first(
      "SELECT last_revision, compacted_revision FROM change_sequence")
    guard let row else {
      throw StoreError(.corrupt, "The table change_sequence has lost its row.")
    }
    return Bounds(last: try row.get(0), compacted: try row.get(1))
  }

  static func event(_ revision: Int64, in transaction: any Transaction) async throws
    -> CommittedEvent?
  {
    try await transaction.first(
      "SELECT \(columns) FROM events WHERE revision = $1", [.integer(revision)]
    ).map(event)
  }

  // MARK: In order

  /// How many revisions are looked at in one read, so that a subscriber whose events are rare does
  /// not keep a reader of the database busy.
  private static let revisionsPerRead: Int64 = 4_096

  /// The next events that are selected, in order.
  ///
  /// - Returns: them, and the revision up to which there are no others.
  /// - Throws: ``StoreError`` with code revisionTooOld when events after the revision have been
  ///   removed.
  static func page(
    after revision: Int64, _ selection: EventSelection, limit: Int,
    in transaction: any Transaction
  ) async throws -> (events: [CommittedEvent], upTo: Int64) {
    let bounds = try await bounds(in: transaction)
    guard revision >= bounds.compacted else {
      throw StoreError(.revisionTooOld, "The oldest event kept is \(bounds.compacted + 1).")
    }
    let end = min(bounds.last, revision + revisionsPerRead)
    guard end > revision else { return ([], max(revision, bounds.last)) }
    var conditions = Conditions()
    conditions.add("revision > \(conditions.parameter(.integer(revision)))")
    conditions.add("revision <= \(conditions.parameter(.integer(end)))")
    conditions.add(selection.types, column: "type")
    conditions.add(selection.subjects, column: "subject")
    let events = try await transaction.query(
      """
      SELECT \(columns) FROM events WHERE \(conditions.text)
      ORDER BY revision LIMIT \(conditions.parameter(SQLValue(limit)))
      """, conditions.parameters
    ).map(event)
    return (events, events.count == limit ? events[limit - 1].revision : end)
  }

  // MARK: Lists

  /// What a list is of.
  struct Query: Sendable {
    /// None: all.
    var types: [NamePattern] = []
    var subject: NamePattern?
    var actor = ""
    var correlationID = ""
    var start: UnixTime?
    var end: UnixTime?
    /// Only revisions above it.
    var after: Int64 = 0
    /// Only revisions below it.
    var before = Int64.max
    var isAscending = false
    var limit: Int
    /// How many revisions are looked at where no index leads to the events: those of a prefix of
    /// subjects, or of several filters together.
    var revisionsPerRead = Int64.max
  }

  /// A page of a list, in its order.
  ///
  /// Each filter alone has an index that ends in the revision, so a page is read from its place and
  /// no further. Several types are read each from its own place and then merged. The index of
  /// subjects gives those of a prefix, where they are few. Where no index leads to the events, a
  /// page ends early.
  ///
  /// - Returns: the events, and where the page ended early; nil when it did not.
  static func list(_ query: Query, in transaction: any Transaction) async throws -> (
    events: [CommittedEvent], endedAt: Int64?
  ) {
    guard var query = try await narrowed(query, in: transaction) else { return ([], nil) }
    var endedAt: Int64?
    let few = try await fewOfSubjects(query, in: transaction)
    if few == nil, query.isBroad {
      let bounds = try await bounds(in: transaction)
      endedAt = query.narrow(to: query.revisionsPerRead, bounds)
    }
    let events = try await select(query, few: few, in: transaction)
    return (events, events.count < query.limit ? endedAt : nil)
  }

  /// So many events of a prefix of subjects are looked up one by one.
  private static let fewEvents = 500

  /// The condition that leads to the events of a prefix of subjects; nil when no prefix is asked
  /// for, or there are many of it.
  private static func fewOfSubjects(
    _ query: Query, in transaction: any Transaction
  ) async throws -> Conditions? {
    guard let subject = query.subject, subject.isPrefix else { return nil }
    var conditions = Conditions()
    conditions.add("subject >= \(conditions.parameter(.text(subject.text)))")
    if let end = subject.end { conditions.add("subject < \(conditions.parameter(.text(end)))") }
    let limit = conditions.parameter(SQLValue(fewEvents + 1))
    let few = "SELECT revision FROM events WHERE \(conditions.text) LIMIT \(limit)"
    let row = try await transaction.first(
      "SELECT count(*) AS number FROM (\(few)) AS few", conditions.parameters)
    guard let row, try row.get(0, as: Int.self) <= fewEvents else { return nil }
    // A limit inside keeps the engines from reading the events in another order.
    conditions.replace("revision IN (SELECT revision FROM (\(few)) AS few)")
    return conditions
  }

  /// - Parameter few: leads to the events of the query's subject.
  private static func select(
    _ query: Query, few: Conditions?, in transaction: any Transaction
  ) async throws -> [CommittedEvent] {
    var conditions = few ?? Conditions()
    conditions.add("revision > \(conditions.parameter(.integer(query.after)))")
    conditions.add("revision < \(conditions.parameter(.integer(query.before)))")
    if !query.actor.isEmpty {
      conditions.add("actor = \(conditions.parameter(.text(query.actor)))")
    }
    if !query.correlationID.isEmpty {
      conditions.add("correlation_id = \(conditions.parameter(.text(query.correlationID)))")
    }
    if few == nil { conditions.add(query.subject.map { [$0] } ?? [], column: "subject") }
    let order = "ORDER BY revision\(query.isAscending ? "" : " DESC")"
    let limit = conditions.parameter(SQLValue(query.limit))
    guard let types = try await types(of: query, in: transaction) else {
      return try await transaction.query(
        "SELECT \(columns) FROM events WHERE \(conditions.text) \(order) LIMIT \(limit)",
        conditions.parameters
      ).map(event)
    }
    guard !types.isEmpty else { return [] }
    let places = types.map { type in
      """
      SELECT revision FROM (SELECT revision FROM events
      WHERE type = \(conditions.parameter(.text(type))) AND \(conditions.text)
      \(order) LIMIT \(limit)) AS place
      """
    }
    return try await transaction.query(
      """
      SELECT \(columns) FROM events WHERE revision IN (
      SELECT revision FROM (\(places.joined(separator: " UNION ALL "))) AS places
      \(order) LIMIT \(limit)) \(order)
      """, conditions.parameters
    ).map(event)
  }

  /// The query with its times as revisions, which rise together; nil when nothing lies in them.
  private static func narrowed(_ query: Query, in transaction: any Transaction) async throws
    -> Query?
  {
    var query = query
    if let start = query.start {
      let row = try await transaction.first(
        "SELECT revision FROM events WHERE time >= $1 ORDER BY time, revision LIMIT 1",
        [SQLValue(start)])
      guard let row else { return nil }
      query.after = max(query.after, try row.get(0, as: Int64.self) - 1)
    }
    if let end = query.end {
      let row = try await transaction.first(
        """
        SELECT revision FROM events WHERE time < $1 ORDER BY time DESC, revision DESC LIMIT 1
        """, [SQLValue(end)])
      guard let row else { return nil }
      query.before = min(query.before, try row.get(0, as: Int64.self) + 1)
    }
    return query
  }

  /// The names of the types asked for; nil when all are.
  private static func types(of query: Query, in transaction: any Transaction) async throws
    -> [String]?
  {
    guard !query.types.isEmpty else { return nil }
    guard query.types.contains(where: \.isPrefix) else {
      return Array(Set(query.types.map(\.text)))
    }
    // Each step jumps to the next type in the index. The table, not the catalogue: a newer server
    // of the fleet may have types that this one does not know.
    let rows = try await transaction.query(
      """
      WITH RECURSIVE types (type) AS (
        SELECT min(type) FROM events
        UNION ALL
        SELECT (SELECT min(events.type) FROM events WHERE events.type > types.type) FROM types
        WHERE types.type IS NOT NULL)
      SELECT type FROM types WHERE type IS NOT NULL
      """)
    return try rows.map { try $0.get(0, as: String.self) }.filter(query.types.matches)
  }
}

/// Conditions that all have to hold, with their parameters.
private struct Conditions {
  private var conditions: [String] = []
  private(set) var parameters: [SQLValue] = []

  var text: String { conditions.joined(separator: " AND ") }

  /// Adds a parameter.
  ///
  /// - Returns: its name in SQL.
  mutating func parameter(_ value: SQLValue) -> String {
    parameters.append(value)
    return "$\(parameters.count)"
  }

  mutating func add(_ condition: String) {
    conditions.append(condition)
  }

  /// Puts one in the place of all, with their parameters.
  mutating func replace(_ condition: String) {
    conditions = [condition]
  }

  /// Adds that a column matches any of the patterns; without patterns, nothing.
  mutating func add(_ patterns: [NamePattern], column: String) {
    guard !patterns.isEmpty else { return }
    let choices = patterns.map { pattern in
      let name = parameter(.text(pattern.text))
      return pattern.isPrefix
        ? "substr(\(column), 1, length(\(name))) = \(name)" : "\(column) = \(name)"
    }
    conditions.append("(\(choices.joined(separator: " OR ")))")
  }
}

extension EventRepository.Query {
  /// Whether no one index leads to its events and to no others.
  fileprivate var isBroad: Bool {
    if let subject, subject.isPrefix { return true }
    guard revisionsPerRead < .max else { return false }
    let filters = [!types.isEmpty, subject != nil, !actor.isEmpty, !correlationID.isEmpty]
    return filters.filter { $0 }.count > 1
  }

  /// Narrows the query to so many revisions from where it begins.
  ///
  /// - Returns: the place from which to go on; nil when there is nothing further on.
  fileprivate mutating func narrow(to count: Int64, _ bounds: EventRepository.Bounds) -> Int64? {
    after = max(after, bounds.compacted)
    before = min(before, bounds.last + 1)
    if isAscending {
      let end = after + count + 1
      guard end < before else { return nil }
      before = end
      return end - 1
    } else {
      let end = before - count - 1
      guard end > after else { return nil }
      after = end
      return end + 1
    }
  }

  /// The same from a place on.
  func continued(from place: Int64) -> Self {
    var query = self
    if isAscending { query.after = place } else { query.before = place }
    return query
  }
}
