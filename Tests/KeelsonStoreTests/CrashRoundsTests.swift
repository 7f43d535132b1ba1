import Foundation
import KeelsonCore
import KeelsonPostgres
import KeelsonSQLite
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

/// Kills processes that write everything a server writes, again and again, and looks at what is
/// left. `KEELSON_CRASH_ROUNDS` says how often; 50 is what a release is judged by.
@Suite(.serialized, .timeLimit(.minutes(10))) struct CrashRoundsTests {
  private static let rounds =
    ProcessInfo.processInfo.environment["KEELSON_CRASH_ROUNDS"].flatMap(Int.init) ?? 4

  @Test func sqliteLosesNothingAcknowledgedToKill9() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    try await rounds(target: folder.path, writers: 1) { try await folder.open() }
  }

  @Test func postgresLosesNothingAcknowledgedToKill9() async throws {
    let server = try await PrivatePostgres.shared.value
    let url = server.url(try await server.createDatabase())
    let loops = LoopGroup(count: 1)
    try await rounds(target: url, writers: 2) {
      try await PostgresDatabase.open(
        PostgresConfiguration(url: url), loops: loops, logger: .silent)
    }
    await loops.stop()
  }

  /// - Parameter writers: how many processes write; one of them is killed first, the others a
  ///   moment later.
  private func rounds(
    target: String, writers: Int, open: () async throws -> any Database
  ) async throws {
    var check = MixedLoadCheck()
    for round in 0..<Self.rounds {
      let processes = try (0..<writers).map { _ in try CrashWriter("mixed", target) }
      // At a random moment of its work, counted in lines so that it has begun.
      for process in processes {
        process.read(lines: Int.random(in: 1...600))
        process.kill()
        check.take(try process.rest())
      }
      let database = try await open()
      try await check.check(database)
      await database.close()
      #expect(check.acknowledged > round)
    }
  }
}

/// A process of StoreCrashWriter, which stands beside the tests' own executable.
final class CrashWriter {
  private let process = Process()
  private let output = Pipe()
  private var text = Data()

  init(_ mode: String, _ target: String) throws {
    let executable = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    process.executableURL = URL(fileURLWithPath: executable).deletingLastPathComponent()
      .appendingPathComponent("StoreCrashWriter")
    process.arguments = [mode, target]
    process.standardOutput = output
    process.standardInput = Pipe()
    try process.run()
  }

  /// Waits until it has printed so many lines, or has ended.
  func read(lines: Int) {
    while text.count(where: { $0 == 0x0A }) < lines {
      let chunk = output.fileHandleForReading.availableData
      guard !chunk.isEmpty else { return }
      text += chunk
    }
  }

  func kill() {
    Foundation.kill(process.processIdentifier, SIGKILL)
  }

  /// All that it printed, once it has ended.
  func rest() throws -> [String] {
    text += try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal)
    return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
  }
}
