import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore

/// What a server writes: changes of one and of several events, changes that fail, entries of other
/// services, and writes without a change.
///
/// Each counter's value goes up by one with each of its events, so that state, events and audit
/// trail can be compared. What is acknowledged is printed: `counter KEY VALUE REVISION`,
/// `entry ID`, `note ID`.
enum MixedLoad {
  private struct Deliberate: Error {}

  static let migrations = MigrationSet(
    "mixed",
    [
      Migration(1, "counters and notes") { dialect in
        [
          """
          CREATE TABLE counters (
            key TEXT PRIMARY KEY, value \(dialect.integerType) NOT NULL,
            revision \(dialect.integerType) NOT NULL
          )\(dialect.tableSuffix)
          """,
          "CREATE TABLE notes (id TEXT PRIMARY KEY)\(dialect.tableSuffix)",
        ]
      }
    ])

  /// Until the process is killed, or a write fails for good.
  static func run(on database: any Database) async {
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask {
          while true {
            do {
              try await step(database)
            } catch is Deliberate {
              continue
            } catch let error as StoreError where error.code == .unreachable {
              // It was not made; the server is restarted meanwhile.
              await Task.yield()
            } catch {
              say("failed \(error)")
              return
            }
          }
        }
      }
    }
  }

  private static func step(_ database: any Database) async throws {
    switch Int.random(in: 0..<10) {
    case 0:
      let id = UUIDv7.make(at: .now)
      try await database.write {
        try await $0.execute("INSERT INTO notes (id) VALUES ($1)", [.text(id)])
      }
      say("note \(id)")
    case 1:
      let entries = (0..<Int.random(in: 1...5)).map { _ in
        AuditEntry(
          id: UUIDv7.make(at: .now), time: .now, recorder: "another", actor: "ada", action: "read",
          entityType: "thing", entityID: "1", category: "access", outcome: .success)
      }
      _ = try await database.appendAudit(entries)
      for entry in entries { say("entry \(entry.id)") }
    case 2:
      try await count(["key-\(Int.random(in: 0..<16))"], fails: true, in: database)
    case 3:
      let first = Int.random(in: 0..<15)
      try await count(["key-\(first)", "key-\(first + 1)"], fails: false, in: database)
    default:
      try await count(["key-\(Int.random(in: 0..<16))"], fails: false, in: database)
    }
  }

  private static func count(
    _ keys: [String], fails: Bool, in database: any Database
  ) async throws {
    let lines = try await database.change(.system()) { change in
      var lines: [String] = []
      for key in keys {
        let row = try await change.first(
          "SELECT value FROM counters WHERE key = $1", [.text(key)])
        let value: Int64 = try row?.get(0) ?? 0
        change.audit(
          AuditDraft(
            action: "count", entityType: "counter", entityID: key,
            after: JSONText(verbatim: "\(value + 1)")))
        let revision = change.emit(
          EventDraft(
            type: "keelson.counters.Counted", subject: key,
            data: JSONText(verbatim: "\(value + 1)")))
        try await change.execute(
          """
          INSERT INTO counters (key, value, revision) VALUES ($1, $2, $3)
          ON CONFLICT (key) DO UPDATE SET value = $2, revision = $3
          """, [.text(key), .integer(value + 1), .integer(revision)])
        lines.append("counter \(key) \(value + 1) \(revision)")
      }
      if fails { throw Deliberate() }
      return lines
    }
    for line in lines { say(line) }
  }
}
