import KeelsonStore

/// Where the changes stand within a batch, and what its members have recorded of them that is not
/// in the tables yet: it is written once for all of them, with the commit, or earlier when a
/// statement may look at those tables. A value, so that a member which fails leaves nothing behind.
struct BatchRecord: Sendable {
  /// How many entries and events are held back at most.
  private static let limit = 1_000

  /// With what is unwritten; nil before the tables are there.
  private(set) var head: ChangeHead?
  private(set) var unwritten: ChangeRecord?

  init(head: ChangeHead?) {
    self.head = head
  }

  /// Whether what is held back has become much.
  var isFull: Bool {
    unwritten.map { $0.entries.count + $0.events.count >= Self.limit } ?? false
  }

  mutating func append(_ record: ChangeRecord) {
    head = record.to
    if unwritten == nil { unwritten = record } else { unwritten?.append(record) }
  }

  /// This and what was recorded after it.
  mutating func append(_ later: BatchRecord) {
    if let record = later.unwritten { append(record) }
    head = later.head
  }

  mutating func wasWritten() {
    unwritten = nil
  }

  /// What writes all that is unwritten; empty when nothing is.
  var statements: [SQLStatement] {
    guard let unwritten else { return [] }
    let move = unwritten.headUpdate
    // Divides by zero, and so takes the batch back, where the head was elsewhere: before anything
    // forks.
    let checked = SQLStatement(
      "WITH moved AS (\(move.sql) RETURNING id) SELECT 1 / count(*) FROM moved", move.parameters)
    return unwritten.insertions(.postgreSQL) + [checked]
  }

  /// Whether a statement may look at the tables that are written late: those of audit entries and
  /// events, and the head. Triggers of other tables of the audit trail look there too.
  static func isSeen(by sql: String) -> Bool {
    var sql = sql
    return sql.withUTF8 { text in
      text.indices.contains { start in
        names.contains { name in
          unsafe text[start] == name[0] && text[start...].starts(with: name)
        }
      }
    }
  }

  private static let names = ["audit", "events", "change_sequence"].map { Array($0.utf8) }
}
