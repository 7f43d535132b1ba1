import Foundation

/// The protoc of the machine.
enum Protoc {
  struct Failure: Error {
    let message: String
  }

  /// The descriptor set of a file and all it imports, with comments.
  static func descriptorSet(of file: String, in folder: URL) throws -> [UInt8] {
    let output = FileManager.default.temporaryDirectory.appending(path: "set-\(UUID())")
    defer { try? FileManager.default.removeItem(at: output) }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [
      "protoc", "-I\(folder.path)", "-I/usr/include", "--include_imports", "--include_source_info",
      "--descriptor_set_out=\(output.path)", file,
    ]
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(message: "protoc failed on \(file)") }
    return [UInt8](try Data(contentsOf: output))
  }
}
