import Glibc
import KeelsonCore
import KeelsonSQLite
import KeelsonStore

// Measures durable changes (state, audit entry and event in one transaction) and plain writes per
// second, with one and with many concurrent callers:
//
//   swift run -c release StoreBenchmark [FOLDER [SECONDS]]
//
// FOLDER, .build/store-benchmark unless given, must be on the disk to be measured. It is made where
// it is missing, and may be deleted afterwards.

let arguments = CommandLine.arguments
let folder = arguments.count > 1 ? arguments[1] : ".build/store-benchmark"
let seconds = arguments.count > 2 ? Int64(arguments[2]) ?? 3 : 3

struct Round: Sendable {
  var name: String
  var callers: Int
  var work: @Sendable (any Database, Int) async throws -> Void
}

let insert: @Sendable (any Database, Int) async throws -> Void = { database, number in
  _ = try await database.write {
    try await $0.execute("INSERT INTO plain (number) VALUES ($1)", [SQLValue(number)])
  }
}

let change: @Sendable (any Database, Int) async throws -> Void = { database, _ in
  _ = try await database.change(.system()) { change in
    try await change.execute(
      "INSERT INTO things (revision, note) VALUES ($1, $2)",
      [.integer(change.revision), "a note of some length, as a flag would have"])
    change.audit(
      AuditDraft(
        action: "append", entityType: "thing", entityID: "thing",
        after: JSONText(verbatim: #"{"note":"a note of some length, as a flag would have"}"#)))
    change.emit(
      EventDraft(
        type: "keelson.things.Appended", subject: "thing", payload: [UInt8](repeating: 7, count: 64)
      ))
  }
}

let read: @Sendable (any Database, Int) async throws -> Void = { database, _ in
  _ = try await database.read {
    try await $0.first("SELECT note FROM things WHERE revision = $1", [1])
  }
}

/// CPU seconds that this process has used.
func processSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func run(_ round: Round, on database: SQLiteDatabase) async throws {
  let before = database.statistics
  let cpu = processSeconds()
  let start = ContinuousClock.now
  let end = start.advanced(by: .seconds(seconds))
  let latencies = try await withThrowingTaskGroup(of: [Duration].self) { group in
    for _ in 0..<round.callers {
      group.addTask {
        var latencies: [Duration] = []
        var now = ContinuousClock.now
        while now < end {
          try await round.work(database, latencies.count)
          let then = now
          now = .now
          latencies.append(now - then)
        }
        return latencies
      }
    }
    return try await group.reduce(into: []) { $0 += $1 }
  }.sorted()
  let elapsed = (ContinuousClock.now - start) / .seconds(1)
  let used = processSeconds() - cpu
  let after = database.statistics
  func microseconds(_ share: Double) -> Int {
    Int(
      latencies[min(latencies.count - 1, Int(Double(latencies.count) * share))] / .microseconds(1))
  }
  let writes = after.writes - before.writes
  let commits = after.commits - before.commits
  var fields = [
    "\(round.name), \(round.callers) callers: \(Int(Double(latencies.count) / elapsed))/s",
    "p50 \(microseconds(0.5)) us", "p99 \(microseconds(0.99)) us",
    "CPU \(Int(used * 1e6 / Double(latencies.count))) us each",
  ]
  if commits > 0 {
    fields.append("\(Double(Int(100 * Double(writes) / Double(commits))) / 100) writes per commit")
  }
  print(fields.joined(separator: ", "))
}

let database = try SQLiteDatabase(SQLiteConfiguration(folder: folder))
try await database.migrate([
  MigrationSet(
    "benchmark",
    [
      Migration(
        1, "things",
        [
          "CREATE TABLE things (revision INTEGER PRIMARY KEY, note TEXT)",
          "CREATE TABLE plain (id INTEGER PRIMARY KEY, number INTEGER)",
        ])
    ])
])
for callers in [1, 8, 64, 256] {
  try await run(Round(name: "insert", callers: callers, work: insert), on: database)
  try await run(Round(name: "change", callers: callers, work: change), on: database)
}
for callers in [1, 64] {
  try await run(Round(name: "read", callers: callers, work: read), on: database)
}
await database.close()
