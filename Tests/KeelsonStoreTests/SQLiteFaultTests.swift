import Foundation
import KeelsonCore
import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import Testing

/// What happens when the process, the disk or the file fails.
@Suite(.timeLimit(.minutes(2))) struct SQLiteFaultTests {
  private static let things = MigrationSet(
    "things",
    [Migration(1, "things", ["CREATE TABLE things (revision INTEGER PRIMARY KEY, note TEXT)"])])

  /// The helper process that the tests start; it stands beside the test's own executable.
  private static func writer(_ mode: String, _ folder: TemporaryFolder) throws -> (Process, Pipe) {
    let products = try #require(
      try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: products).deletingLastPathComponent()
      .appendingPathComponent("StoreCrashWriter")
    process.arguments = [mode, folder.path]
    let output = Pipe()
    process.standardOutput = output
    process.standardInput = Pipe()
    try process.run()
    return (process, output)
  }

  @Test func everythingAcknowledgedSurvivesKill9() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var random = SystemRandomNumberGenerator()
    var previous: Int64 = 0
    for _ in 0..<10 {
      let (process, output) = try Self.writer("append", folder)
      // Kills it at a random moment of its work, counted in lines so that it has begun.
      let target = Int.random(in: 1...400, using: &random)
      var text = Data()
      while text.count(where: { $0 == 0x0A }) < target {
        let chunk = output.fileHandleForReading.availableData
        guard !chunk.isEmpty else { break }
        text += chunk
      }
      kill(process.processIdentifier, SIGKILL)
      text += try output.fileHandleForReading.readToEnd() ?? Data()
      process.waitUntilExit()
      #expect(process.terminationReason == .uncaughtSignal)
      let acknowledged = String(decoding: text, as: UTF8.self).split(separator: "\n")
        .compactMap { Int64($0) }
      #expect(acknowledged.count >= target)

      let database = try await folder.open()
      try await database.migrate([Self.things])
      let events = try await database.feed.events(after: 0, limit: 1_000_000).map(\.revision)
      let (states, entries) = try await database.read { transaction in
        (
          try await transaction.query("SELECT revision FROM things ORDER BY revision")
            .map { try $0.get(0, as: Int64.self) },
          try await transaction.query("SELECT revision FROM audit_entries ORDER BY sequence")
            .map { try $0.get(0, as: Int64.self) }
        )
      }
      let last = try #require(events.last)
      #expect(events == Array(1...last))
      #expect(states == events)
      #expect(entries == events)
      #expect(Set(events).isSuperset(of: acknowledged))
      #expect(acknowledged.allSatisfy { $0 > previous })
      #expect(database.feed.currentRevision == last)
      previous = last
      await database.close()
    }
  }

  @Test func aFullDiskRefusesWritesAndRecovers() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (process, output) = try Self.writer("starve", folder)
    let text = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    #expect(
      String(decoding: text, as: UTF8.self).split(separator: "\n") == [
        #"refusals ["full"]"#, "reads agree", "health full", "next follows", "health good",
      ])
  }

  @Test func aDatabaseAtItsSizeLimitRefusesWritesAndRecovers() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var configuration = SQLiteConfiguration(folder: folder.path)
    configuration.limits.maximumPages = 60
    let database = try SQLiteDatabase(configuration)
    try await database.migrate([Self.things])
    let note = SQLValue.text(String(repeating: "x", count: 30_000))
    var rows = 0
    let error = await #expect(throws: StoreError.self) {
      while rows < 100 {
        try await database.write { transaction in
          try await transaction.execute("INSERT INTO things (note) VALUES ($1)", [note])
        }
        rows += 1
      }
    }
    #expect(error?.code == .full)
    // Reading works, and a write that needs no room says nothing about the disk.
    for _ in 0..<2 {
      let outcome = try await DatabaseHealthCheck(database).check()
      #expect(
        outcome == .degraded(reason: "The disk is full: changes are refused; reading works."))
    }
    #expect(database.writeFailure?.code == .full)
    let kept = try await database.read { try await $0.query("SELECT 1 FROM things").count }
    #expect(kept == rows)
    try await database.write { try await $0.execute("DELETE FROM things") }
    let outcome = try await DatabaseHealthCheck(database).check()
    #expect(outcome == .healthy)
    try await database.write { transaction in
      try await transaction.execute("INSERT INTO things (note) VALUES ($1)", [note])
    }
    await database.close()
  }

  @Test func aSecondProcessIsRefusedUntilTheFirstIsKilled() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (process, output) = try Self.writer("hold", folder)
    #expect(output.fileHandleForReading.availableData == Data("open\n".utf8))
    let error = #expect(throws: StoreError.self) {
      try SQLiteDatabase(SQLiteConfiguration(folder: folder.path))
    }
    #expect(error?.code == .busy)
    #expect(error?.message.contains(folder.path) == true)
    #expect(error?.message.contains("process \(process.processIdentifier)") == true)
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    let database = try await folder.open()
    await database.close()
  }

  @Test func aSecondOpenerInThisProcessIsRefusedUntilTheFirstCloses() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let database = try await folder.open()
    let error = #expect(throws: StoreError.self) {
      try SQLiteDatabase(SQLiteConfiguration(folder: folder.path))
    }
    #expect(error?.code == .busy)
    await database.close()
    let again = try await folder.open()
    await again.close()
  }

  /// The second is a folder that not even root may write to.
  @Test(arguments: ["/proc/self/exe/data", "/proc"])
  func aFolderThatCannotBeWrittenIsNamed(path: String) {
    let error = #expect(throws: StoreError.self) {
      try SQLiteDatabase(SQLiteConfiguration(folder: path))
    }
    #expect(error?.code == .io)
    #expect(error?.message.contains("The data folder \(path)") == true)
  }

  /// A child has every descriptor of its parent until it runs its own program.
  @Test func aChildThatIsBeingStartedDoesNotKeepTheFolder() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let first = try await folder.open()
    let files = FileManager.default
    let descriptors = try files.contentsOfDirectory(atPath: "/proc/self/fd").compactMap(Int32.init)
    let path = URL(fileURLWithPath: folder.path).appendingPathComponent("keelson.lock")
      .resolvingSymlinksInPath().path
    let held = descriptors.first {
      (try? files.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == path
    }
    let child = dup(try #require(held))
    defer { close(child) }
    await first.close()
    try await folder.open().close()
  }

  @Test func aFileThatIsNoDatabaseIsNamed() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let path = folder.path + "/keelson.sqlite"
    try Data(repeating: 0x41, count: 8_192).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: StoreError.self) {
      try SQLiteDatabase(SQLiteConfiguration(folder: folder.path))
    }
    #expect(error?.code == .corrupt)
    #expect(error?.message.hasPrefix("\(path) is damaged or not a database.") == true)
  }

  @Test func aDamagedPageIsFoundByTheCheck() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let database = try await folder.open()
    try await database.migrate([Self.things])
    try await database.write { transaction in
      for _ in 0..<50 {
        try await transaction.execute(
          "INSERT INTO things (note) VALUES ($1)", [.text(String(repeating: "x", count: 500))])
      }
    }
    await database.close()
    let path = folder.path + "/keelson.sqlite"
    var data = try Data(contentsOf: URL(fileURLWithPath: path))
    // The rows came last; the schema stays readable.
    for index in (data.count - 4_096 * 4)..<data.count { data[index] = 0xFF }
    try data.write(to: URL(fileURLWithPath: path))
    var configuration = SQLiteConfiguration(folder: folder.path)
    configuration.integrityCheck = .always
    let error = #expect(throws: StoreError.self) { try SQLiteDatabase(configuration) }
    #expect(error?.code == .corrupt)
    // It was closed, so nobody looks unasked; a log that was left behind says that it was not.
    await (try SQLiteDatabase(SQLiteConfiguration(folder: folder.path))).close()
    try Data(repeating: 0, count: 1).write(to: URL(fileURLWithPath: path + "-wal"))
    let afterCrash = #expect(throws: StoreError.self) {
      try SQLiteDatabase(SQLiteConfiguration(folder: folder.path))
    }
    #expect(afterCrash?.code == .corrupt)
  }
}
