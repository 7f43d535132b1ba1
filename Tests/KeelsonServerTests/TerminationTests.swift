import Foundation
import KeelsonTestKit
import Testing

@Suite(.timeLimit(.minutes(5))) struct TerminationTests {
  /// `keelson serve 2>&1 | head -1` must not end the server with the reader of its log.
  @Test func aLogThatNobodyReadsDoesNotEndTheServer() async throws {
    let data = FileManager.default.temporaryDirectory
      .appending(path: "keelson-termination-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: data) }
    let process = Process()
    // The tests run from the folder where the binary is as well.
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appending(path: "keelson")
    process.arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data.path]
    let output = Pipe()
    let log = Pipe()
    try log.fileHandleForReading.close()
    process.standardOutput = output
    process.standardError = log
    let hasExited = Signal<Void>()
    process.terminationHandler = { _ in hasExited.send() }
    try process.run()
    // It says that it serves, after its first line to the log; nothing when it has ended.
    let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    #expect(line.contains("is serving on"))
    process.terminate()
    await hasExited.wait()
    #expect(process.terminationReason == .exit)
    #expect(process.terminationStatus == 0)
  }
}
