import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore

/// Finds the entries that match a filter, a page at a time, within a bounded time for whatever
/// filter: docs/decisions/0018.
///
/// Each filter has an index that ends in the sequence number. The page comes from the index of the
/// filter that lets the fewest entries through; the other filters are applied to at most
/// ``AuditLimits/entriesExamined`` of those, and a page that is not full by then ends there.
struct AuditQuery: Sendable {
  enum Direction: Sendable { case newestFirst, oldestFirst }

  /// Entries whose column has that value.
  private struct Branch: Sendable, Hashable {
    var column: String
    var value: SQLValue
  }

  /// A filter as SQL sees it: entries of any of its branches.
  private struct Condition: Sendable, Hashable {
    var branches: [Branch]
    /// The same as a condition that no index is tried for, with its parameters.
    var residual: String
    var parameters: [SQLValue]
  }

  struct Page: Sendable {
    var entries: [AuditEntry] = []
    /// Where the next page begins: there may be more below (or above) this number; nil when there
    /// is nothing more.
    var next: Int64?
  }

  private let conditions: [Condition]
  private let prefix: String?
  private let startTime: UnixTime?
  private let endTime: UnixTime?
  private let limits: AuditLimits

  init(_ filter: AuditFilter, limits: AuditLimits) {
    self.limits = limits
    startTime = filter.startTime
    endTime = filter.endTime
    var conditions: [Condition] = []
    func add(_ column: String, _ values: [String]) {
      guard !values.isEmpty else { return }
      let places = values.indices.map { "?\($0)" }.joined(separator: ", ")
      conditions.append(
        Condition(
          branches: values.map { Branch(column: column, value: .text($0)) },
          // An expression has no index, so the engine cannot choose the wrong one.
          residual: "(\(column) || '') IN (\(places))", parameters: values.map { .text($0) }))
    }
    // Those that usually let fewer through come first.
    add("correlation_id", filter.correlationID.isEmpty ? [] : [filter.correlationID])
    add("entity_id", filter.entityIDs)
    add("actor", filter.actors)
    if case .exactly(let action)? = filter.action { add("action", [action]) }
    add("entity_type", filter.entityType.isEmpty ? [] : [filter.entityType])
    add("category", filter.category.isEmpty ? [] : [filter.category])
    add("outcome", filter.outcome.map { [$0.rawValue] } ?? [])
    self.conditions = conditions
    if case .beginning(let prefix)? = filter.action { self.prefix = prefix } else { prefix = nil }
  }

  /// All that a user did, and all that was done to them: in time order whatever the reason.
  ///
  /// - Parameters:
  ///   - names: the user's name and pseudonym.
  ///   - subjectKeyID: the key of their personal data; nil when there is none.
  init(
    historyOf names: [String], subjectKeyID: String?, startTime: UnixTime?, endTime: UnixTime?,
    limits: AuditLimits
  ) {
    self.limits = limits
    self.startTime = startTime
    self.endTime = endTime
    prefix = nil
    var branches = names.flatMap {
      [Branch(column: "actor", value: .text($0)), Branch(column: "entity_id", value: .text($0))]
    }
    if let subjectKeyID {
      branches.append(Branch(column: "subject_key_id", value: .text(subjectKeyID)))
    }
    conditions = [Condition(branches: branches, residual: "", parameters: [])]
  }

  /// The page after (or before) a number, with at most so many entries.
  ///
  /// - Parameter bound: entries beyond this number are looked for: below it when the newest come
  ///   first, above it otherwise.
  func page(
    beyond bound: Int64, upTo last: Int64 = .max, limit: Int, _ direction: Direction,
    in transaction: any Transaction
  ) async throws -> Page {
    guard
      var range = try await sequences(
        direction == .newestFirst ? (0, min(bound - 1, last)) : (bound + 1, last), in: transaction)
    else { return Page() }
    var conditions = conditions
    if let prefix {
      guard let condition = try await condition(ofPrefix: prefix, in: transaction) else {
        return Page()
      }
      conditions.append(condition)
    }
    let driver = try await driver(of: conditions, range, direction, in: transaction)
    let residuals = conditions.enumerated().filter { $0.offset != driver }.map(\.element)
    let branches = driver.map { conditions[$0].branches } ?? []
    var isCut = false
    if !residuals.isEmpty {
      if let edge = try await edge(of: branches, range, direction, in: transaction) {
        isCut = true
        if direction == .newestFirst { range.first = edge } else { range.last = edge }
      }
    }
    let statement = statement(branches, residuals, range, limit: limit + 1, direction)
    let rows = try await transaction.query(statement.sql, statement.parameters)
    var page = Page(entries: try rows.prefix(limit).map(AuditEntries.entry))
    if rows.count > limit {
      page.next = page.entries.last?.sequence
    } else if isCut {
      page.next = direction == .newestFirst ? range.first : range.last
    }
    return page
  }

  // MARK: Time

  /// The numbers that the times leave. Times never go back along the trail, so a range of times is
  /// a range of numbers.
  private func sequences(
    _ range: (first: Int64, last: Int64), in transaction: any Transaction
  ) async throws -> (first: Int64, last: Int64)? {
    var (first, last) = range
    if let startTime {
      let row = try await transaction.first(
        """
        SELECT sequence FROM audit_entries WHERE time < $1 ORDER BY time DESC, sequence DESC LIMIT 1
        """, [SQLValue(startTime)])
      first = max(first, try row.map { try $0.get(0) + 1 } ?? 0)
    }
    if let endTime {
      guard
        let row = try await transaction.first(
          """
          SELECT sequence FROM audit_entries WHERE time < $1
          ORDER BY time DESC, sequence DESC LIMIT 1
          """, [SQLValue(endTime)])
      else { return nil }
      last = min(last, try row.get(0))
    }
    return first <= last ? (first, last) : nil
  }

  // MARK: Choosing

  /// The actions there are that begin alike, found by skipping from one to the next in the index;
  /// nil when there are none.
  private func condition(
    ofPrefix prefix: String, in transaction: any Transaction
  ) async throws -> Condition? {
    // The point is the last byte, and what follows it in ASCII is "/".
    let end = prefix.dropLast() + "/"
    let rows = try await transaction.query(
      """
      WITH RECURSIVE actions(action) AS (
        SELECT min(action) FROM audit_entries WHERE action >= $1 AND action < $2
        UNION ALL
        SELECT (SELECT min(e.action) FROM audit_entries e
          WHERE e.action > actions.action AND e.action < $2)
        FROM actions WHERE actions.action IS NOT NULL
      )
      SELECT action FROM actions WHERE action IS NOT NULL LIMIT \(limits.actionsPerPrefix + 1)
      """, [.text(prefix), .text(String(end))])
    let actions = try rows.map { try $0.get(0, as: String.self) }
    guard actions.count <= limits.actionsPerPrefix else {
      return Condition(
        branches: [], residual: "substr(action, 1, length(?0)) = ?0", parameters: [.text(prefix)])
    }
    guard !actions.isEmpty else { return nil }
    return Condition(
      branches: actions.map { Branch(column: "action", value: .text($0)) },
      residual: "substr(action, 1, length(?0)) = ?0", parameters: [.text(prefix)])
  }

  /// Which condition's index the page comes from: that with the fewest entries, which is found by
  /// counting each up to a bound.
  private func driver(
    of conditions: [Condition], _ range: (first: Int64, last: Int64), _ direction: Direction,
    in transaction: any Transaction
  ) async throws -> Int? {
    let candidates = conditions.indices.filter { !conditions[$0].branches.isEmpty }
    guard candidates.count > 1 else { return candidates.first }
    // Counting reads the index alone, so it may go further than looking at entries.
    let bound = limits.entriesExamined * 4
    var best: (index: Int, count: Int)?
    for index in candidates {
      var count = 0
      for branch in conditions[index].branches where count <= bound {
        let (condition, order) = Self.indexed(branch.column, "$1", first: "$2", last: "$3", "DESC")
        let row = try await transaction.first(
          """
          SELECT count(*) FROM (SELECT 1 FROM audit_entries WHERE \(condition)\(also(branch))
          ORDER BY \(order) LIMIT \(bound + 1)) AS few
          """, [branch.value, .integer(range.first), .integer(range.last)])
        count += try row?.get(0) ?? 0
      }
      if count < best?.count ?? .max { best = (index, count) }
      // None can be much better.
      if count <= limits.defaultPageSize { break }
    }
    return best?.index
  }

  /// The condition and the order that only the index of the branch's column fulfils: with `=` alone
  /// a planner may think that going through all entries by number finds some soon enough, which is
  /// wrong for what is rare.
  ///
  /// - Parameters:
  ///   - value, first, last: the places of the parameters.
  private static func indexed(
    _ column: String, _ value: String, first: String, last: String, _ order: String
  ) -> (condition: String, order: String) {
    (
      "(\(column), sequence) >= (\(value), \(first)) AND (\(column), sequence) <= (\(value), \(last))",
      "\(column) \(order), sequence \(order)"
    )
  }

  /// The number down to which (or up to which) the entries of the branches are looked at; nil when
  /// that is all of them.
  private func edge(
    of branches: [Branch], _ range: (first: Int64, last: Int64), _ direction: Direction,
    in transaction: any Transaction
  ) async throws -> Int64? {
    let order = direction == .newestFirst ? "DESC" : "ASC"
    let each = limits.entriesExamined / max(1, branches.count)
    var edges: [Int64] = []
    for branch in branches.map(Optional.some) + (branches.isEmpty ? [nil] : []) {
      let (condition, order) =
        branch.map { Self.indexed($0.column, "$3", first: "$1", last: "$2", order) }
        ?? ("sequence >= $1 AND sequence <= $2", "sequence \(order)")
      let row = try await transaction.first(
        """
        SELECT sequence FROM audit_entries WHERE \(condition)\(branch.map(also) ?? "")
        ORDER BY \(order) LIMIT 1 OFFSET \(each)
        """, [.integer(range.first), .integer(range.last)] + (branch.map { [$0.value] } ?? []))
      if let row { edges.append(try row.get(0)) }
    }
    return direction == .newestFirst ? edges.max() : edges.min()
  }

  // MARK: SQL

  private func statement(
    _ branches: [Branch], _ residuals: [Condition], _ range: (first: Int64, last: Int64),
    limit: Int, _ direction: Direction
  ) -> SQLStatement {
    let order = direction == .newestFirst ? "DESC" : "ASC"
    var parameters: [SQLValue] = [.integer(range.first), .integer(range.last), SQLValue(limit)]
    func parameter(_ value: SQLValue) -> String {
      parameters.append(value)
      return "$\(parameters.count)"
    }
    let rest = residuals.map { condition in
      // From the last place, so that ?1 does not meet ?10.
      condition.parameters.enumerated().reversed().reduce(" AND " + condition.residual) {
        $0.replacing("?\($1.offset)", with: parameter($1.element))
      }
    }.joined()
    func selection(_ columns: String, _ branch: Branch?) -> String {
      let (condition, order) =
        branch.map {
          Self.indexed($0.column, parameter($0.value), first: "$1", last: "$2", order)
        } ?? ("sequence >= $1 AND sequence <= $2", "sequence \(order)")
      return """
        SELECT \(columns) FROM audit_entries
        WHERE \(condition)\(branch.map(also) ?? "")\(rest) ORDER BY \(order) LIMIT $3
        """
    }
    guard branches.count > 1 else {
      return SQLStatement(selection(AuditEntries.columns, branches.first), parameters)
    }
    // Each index gives its first ones; the first of all of them are the page. A number of branches
    // that is a power of two keeps different statements few: the last one stands again.
    var count = 2
    while count < branches.count { count *= 2 }
    let padded =
      branches + repeatElement(branches[branches.count - 1], count: count - branches.count)
    let unions = padded.enumerated().map { index, branch in
      "SELECT sequence FROM (\(selection("sequence", branch))) AS branch\(index)"
    }.joined(separator: " UNION ")
    return SQLStatement(
      """
      SELECT \(AuditEntries.columns) FROM audit_entries WHERE sequence IN (
        SELECT sequence FROM (\(unions)) AS branches ORDER BY sequence \(order) LIMIT $3)
      ORDER BY sequence \(order)
      """, parameters)
  }

  /// The index of subjects leaves out the entries that have none, and is used where that is said.
  private func also(_ branch: Branch) -> String {
    branch.column == "subject_key_id" ? " AND subject_key_id <> ''" : ""
  }
}
