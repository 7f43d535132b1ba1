import KeelsonStore

/// Which statements one connection has prepared, and under which names. A value without I/O.
///
/// A statement's life:
/// - unknown. Can transition to: prepared.
/// - prepared (the server was asked, its answer may be on its way). Can transition to: unknown,
///   when it failed; owed, when it makes room for another or its tables have changed.
/// - owed (the server has it and is to let go of it). Can transition to: unknown, once the server
///   has let go; owed again, when it could not.
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
    /// Statements that the server is to let go of: their names there.
    var released: [String] = []
  }

  /// How many there are at most; the few that end transactions come on top.
  let limit: Int
  private var entries: [String: Entry] = [:]
  private var uses: UInt64 = 0
  private var names = 0
  private var owed: [String] = []

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
    // A transaction that has failed takes nothing ahead of what ends it.
    let endsTransaction = Self.endsTransaction(sql)
    if entries.count >= limit, !endsTransaction,
      let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse })
    {
      owed.append(oldest.value.name)
      entries[oldest.key] = nil
    }
    if !endsTransaction {
      plan.released = owed
      owed = []
    }
    entries[sql] = Entry(name: plan.name, lastUse: uses)
    return plan
  }

  private static func endsTransaction(_ sql: String) -> Bool {
    ["COMMIT", "ROLLBACK", "RELEASE"].contains(where: sql.hasPrefix)
  }

  /// Forgets them all; names that were given are not given again.
  mutating func removeAll() {
    entries = [:]
    owed = []
  }

  /// The server refused to prepare it, does not know it any more, or cannot run it as it is.
  mutating func forget(_ sql: String, isOnServer: Bool) {
    guard let entry = entries.removeValue(forKey: sql) else { return }
    if isOnServer { owed.append(entry.name) }
  }

  /// The server could not let go of it.
  mutating func owe(_ name: String) {
    owed.append(name)
  }

  func columns(of sql: String) -> RowColumns? { entries[sql]?.columns }

  mutating func setColumns(_ columns: RowColumns, of sql: String) {
    entries[sql]?.columns = columns
  }
}
