import Foundation

/// Python's protobuf, run as a process: see Tests/Peers/protobuf_peer.py.
struct PythonPeer {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// The full name of the message it works on.
  let message: String

  private static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Runs a command of the script on lines of input; the lines of output.
  func run(_ command: String..., input: [String] = []) throws -> [String] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "peer-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let set = folder.appending(path: "set").path
    let protos = Self.root.appending(path: "Tests/Protos").path
    _ = try Self.execute(
      [
        "protoc", "-I\(protos)", "-I/usr/include", "--include_imports",
        "--descriptor_set_out=\(set)", "keelson/test/v1/everything.proto",
      ],
      input: "", in: folder)
    let script = Self.root.appending(path: "Tests/Peers/protobuf_peer.py").path
    let output = try Self.execute(
      [try Self.python(in: folder), script, set, message] + command,
      input: input.map { $0 + "\n" }.joined(), in: folder)
    return output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      .map(String.init)
  }

  private static func python(in folder: URL) throws -> String {
    if let python = ProcessInfo.processInfo.environment["KEELSON_PYTHON"] { return python }
    do {
      _ = try execute(["python3", "-c", "import google.protobuf"], input: "", in: folder)
    } catch {
      throw Failure(
        description: "Set KEELSON_PYTHON to a python with the packages protobuf and grpcio-tools; "
          + "python3 on PATH does not have them.")
    }
    return "python3"
  }

  private static func execute(_ command: [String], input: String, in folder: URL) throws -> String {
    let inputFile = folder.appending(path: "in")
    let outputFile = folder.appending(path: "out")
    let errorFile = folder.appending(path: "err")
    try Data(input.utf8).write(to: inputFile)
    try Data().write(to: outputFile)
    try Data().write(to: errorFile)
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = command
    process.standardInput = try FileHandle(forReadingFrom: inputFile)
    process.standardOutput = try FileHandle(forWritingTo: outputFile)
    process.standardError = try FileHandle(forWritingTo: errorFile)
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      let message = String(decoding: try Data(contentsOf: errorFile), as: UTF8.self)
      throw Failure(description: "\(command.joined(separator: " ")): \(message)")
    }
    return String(decoding: try Data(contentsOf: outputFile), as: UTF8.self)
  }
}

extension [UInt8] {
  /// Lower-case hexadecimal.
  var hex: String {
    map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
  }

  init(hex: String) {
    let digits = [UInt8](hex.utf8)
    self = stride(from: 0, to: digits.count, by: 2).map {
      UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16) ?? 0
    }
  }
}
