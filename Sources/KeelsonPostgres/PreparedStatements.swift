import KeelsonStore

/// Which statements one connection has prepared, and under which names. A value without I/O.
///
/// A statement's life:
/// - unknown. Can transition to: prepared.
/// - prepared (the server was asked, its answer may be on its way). Can transition to: unknown,
///   when it failed or makes room for another.
struct PreparedStatements {
  struct Entry {
    let name: String
    var lastUse: UInt64
    /// The columns of its results; the server never changes them for one prepared statement.
    var columns: RowColumns?
  }

  /// What has to be sent ahead of running a statement.
  struct Plan: Equatable {
    var name: String
    /// Whether it has to be prepared first.
    var isNew: Bool
    /// A statement that makes room: its name on the server.
    var evicted: String?
  }

  let limit: Int
  private var entries: [String: Entry] = [:]
  private var uses: UInt64 = 0
  private var names = 0

  init(limit: Int) {
    self.limit = limit
  }

  mutating func plan(for sql: String) -> Plan {
    uses += 1
    if let index = entries.index(forKey: sql) {
      entries.values[index].lastUse = uses
      return Plan(name: entries.values[index].name, isNew: false)
    }
    names += 1
    var plan = Plan(name: "k\(names)", isNew: true)
    if entries.count >= limit, let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse })
    {
      plan.evicted = oldest.value.name
      entries[oldest.key] = nil
    }
    entries[sql] = Entry(name: plan.name, lastUse: uses)
    return plan
  }

  /// Forgets them all; names that were given are not given again.
  mutating func removeAll() {
    entries = [:]
  }

  /// The server refused to prepare it, or does not know it any more.
  mutating func forget(_ sql: String) {
    entries[sql] = nil
  }

  func columns(of sql: String) -> RowColumns? { entries[sql]?.columns }

  mutating func setColumns(_ columns: RowColumns, of sql: String) {
    entries[sql]?.columns = columns
  }
}
