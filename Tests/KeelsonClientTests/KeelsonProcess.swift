import Foundation
import KeelsonTestKit

/// The real server, as a process of its own with its data in a folder.
final class KeelsonProcess {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Where it listens: `127.0.0.1:PORT`.
  let address: String
  private let process: Process
  private let hasExited: Signal<Void>

  /// Starts the server and returns when it serves.
  ///
  /// - Parameter listen: port 0 takes any free one.
  static func start(
    data: URL, listen: String = "127.0.0.1:0", _ more: [String] = []
  ) async throws -> KeelsonProcess {
    let binary = try locate()
    let process = Process()
    process.executableURL = binary
    process.arguments = ["serve", "--listen", listen, "--data", data.path] + more
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    let hasExited = Signal<Void>()
    process.terminationHandler = { _ in hasExited.send() }
    let firstLine = Signal<String>()
    let lines = LineReader { line in firstLine.send(line) }
    output.fileHandleForReading.readabilityHandler = { lines.read($0) }
    do {
      try process.run()
    } catch {
      throw Failure(description: "\(binary.path) cannot be run: \(error)")
    }
    let line = await firstLine.wait()
    guard let match = line.firstMatch(of: #/^Keelson \S+ is serving on (127\.0\.0\.1:\d+)$/#) else {
      process.terminate()
      throw Failure(
        description: """
          \(binary.path) did not say that it serves, but "\(line)". If KEELSON_BINARY is set, it \
          has to name a keelson binary of this version.
          """)
    }
    return KeelsonProcess(process, address: String(match.output.1), hasExited: hasExited)
  }

  private init(_ process: Process, address: String, hasExited: Signal<Void>) {
    self.process = process
    self.address = address
    self.hasExited = hasExited
  }

  deinit {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
  }

  /// Stops it as an admin would, and returns its exit status.
  func stop() async -> Int32 {
    process.terminate()
    await hasExited.wait()
    return process.terminationStatus
  }

  /// Kills it without a chance to tidy up.
  func crash() async {
    kill(process.processIdentifier, SIGKILL)
    await hasExited.wait()
  }

  /// The binary that KEELSON_BINARY names, or the one built together with the tests.
  private static func locate() throws -> URL {
    let files = FileManager.default
    if let path = ProcessInfo.processInfo.environment["KEELSON_BINARY"] {
      guard files.isExecutableFile(atPath: path) else {
        throw Failure(description: "KEELSON_BINARY names \(path), which is no executable file.")
      }
      return URL(fileURLWithPath: path)
    }
    // The tests run from .build/<configuration>, where the binary is as well.
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    let folder = tests.deletingLastPathComponent()
    let build = folder.deletingLastPathComponent()
    let candidates = [folder, build.appending(path: "release"), build.appending(path: "debug")]
      .map { $0.appending(path: "keelson") }
    guard let binary = candidates.first(where: { files.isExecutableFile(atPath: $0.path) }) else {
      throw Failure(
        description: """
          No keelson binary at \(candidates.map(\.path).joined(separator: " or ")). Build it, or \
          name one with KEELSON_BINARY.
          """)
    }
    return binary
  }
}

/// Finds the first line in what a process prints; what it printed when it ends without one.
///
/// `@unchecked Sendable`: the file handle calls `read` on one thread at a time, its queue.
private final class LineReader: @unchecked Sendable {
  private var text = ""
  private let found: @Sendable (String) -> Void

  init(found: @escaping @Sendable (String) -> Void) {
    self.found = found
  }

  func read(_ handle: FileHandle) {
    let data = handle.availableData
    text += String(decoding: data, as: UTF8.self)
    if let end = text.firstIndex(of: "\n") {
      found(String(text[..<end]))
    } else if data.isEmpty {
      found(text)
    }
    if data.isEmpty { handle.readabilityHandler = nil }
  }
}
