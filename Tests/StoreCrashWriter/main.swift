import Glibc
import KeelsonCore
import KeelsonPostgres
import KeelsonSQLite
import KeelsonStore
import KeelsonTransport

// A process for the fault tests to kill, starve and shut out.
//
//   append FOLDER   changes without end, from several tasks; prints each revision once it is
//                   acknowledged
//   mixed TARGET    everything a server writes, without end, from several tasks, into a folder or the
//                   database at a postgres:// address; prints what is acknowledged
//   hold FOLDER     opens the folder, prints "open", and waits for its input to end
//   starve FOLDER   fills a disk of limited size, then gets more; prints what it found

/// Adds one thing in a change and returns its revision.
func append(to database: any Database, note: String = "") async throws -> Int64 {
  try await database.change(.system()) { change in
    try await change.execute(
      "INSERT INTO things (revision, note) VALUES ($1, $2)",
      [.integer(change.revision), .text(note)])
    change.audit(
      AuditDraft(action: "append", entityType: "thing", entityID: "\(change.revision)"))
    return change.emit(
      EventDraft(type: "keelson.things.Appended", subject: "\(change.revision)"))
  }
}

/// Prints a line in one write, so that a kill never tears it.
func say(_ line: String) {
  let bytes = Array("\(line)\n".utf8)
  _ = unsafe bytes.withUnsafeBytes { unsafe write(STDOUT_FILENO, $0.baseAddress, $0.count) }
}

/// Sets how far files may grow, as a full disk would; nil: without limit.
func limitFileSize(bytes: Int?) {
  var limit = rlimit()
  unsafe getrlimit(__rlimit_resource_t(1), &limit)  // RLIMIT_FSIZE
  limit.rlim_cur = bytes.map { rlim_t($0) } ?? limit.rlim_max
  unsafe setrlimit(__rlimit_resource_t(1), &limit)
}

func starve(_ database: any Database, logPath: String) async throws {
  // Without this a write beyond the limit ends the process (setrlimit(2)).
  signal(SIGXFSZ, SIG_IGN)
  _ = try await append(to: database)
  var file = stat()
  guard unsafe stat(logPath, &file) == 0 else { return say("no log file at \(logPath)") }
  limitFileSize(bytes: Int(file.st_size) + 300_000)
  // Many writers, so that batches of several are refused, too.
  let outcomes = await withTaskGroup(of: (Int64?, String).self) { group in
    for _ in 0..<64 {
      group.addTask {
        do {
          return (try await append(to: database, note: String(repeating: "x", count: 20_000)), "")
        } catch let error as StoreError {
          return (nil, error.code.description)
        } catch {
          return (nil, "\(error)")
        }
      }
    }
    return await group.reduce(into: []) { $0.append($1) }
  }
  var acknowledged = outcomes.compactMap(\.0).sorted()
  // A small batch may still have found room after a large one was refused.
  while let revision = try? await append(to: database, note: String(repeating: "x", count: 20_000))
  {
    acknowledged.append(revision)
  }
  say("refusals \(Set(outcomes.map(\.1)).subtracting([""]).sorted())")
  let stored = try await database.feed.events(after: 1, limit: 1_000).map(\.revision)
  say("reads \(stored == acknowledged ? "agree" : "differ: \(stored) \(acknowledged)")")
  say("health \(database.writeFailure?.code.description ?? "good")")
  limitFileSize(bytes: nil)
  let next = try await append(to: database)
  say("next \(next == (acknowledged.last ?? 1) + 1 ? "follows" : "is \(next)")")
  say("health \(database.writeFailure?.code.description ?? "good")")
}

let arguments = CommandLine.arguments
guard arguments.count == 3 else {
  say("usage: \(arguments[0]) append|mixed|hold|starve TARGET")
  exit(2)
}
let folder = arguments[2]
let database: any Database =
  folder.hasPrefix("postgres://")
  ? try await PostgresDatabase.open(
    PostgresConfiguration(url: folder), loops: LoopGroup(count: 1), logger: .silent)
  : try SQLiteDatabase(SQLiteConfiguration(folder: folder))
try await database.migrate([
  arguments[1] == "mixed"
    ? MixedLoad.migrations
    : MigrationSet(
      "things",
      [Migration(1, "things", ["CREATE TABLE things (revision INTEGER PRIMARY KEY, note TEXT)"])])
])
switch arguments[1] {
case "mixed":
  await MixedLoad.run(on: database)
case "append":
  await withTaskGroup { group in
    for _ in 0..<8 {
      group.addTask {
        while let revision = try? await append(to: database) { say("\(revision)") }
      }
    }
  }
case "hold":
  say("open")
  while readLine() != nil {}
case "starve":
  try await starve(database, logPath: "\(folder)/keelson.sqlite-wal")
default:
  say("unknown mode \(arguments[1])")
}
await database.close()
