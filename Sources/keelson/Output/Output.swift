import Glibc
import KeelsonAPI
import KeelsonCore

/// Where a command's answer goes: tables for people, JSON for scripts.
struct Output: Sendable {
  enum Format: String, CaseIterable {
    case table, json
  }

  let format: Format

  init(_ invocation: Invocation) {
    format = invocation.option("output").flatMap(Format.init) ?? .table
  }

  /// Prints a message as JSON, or as the text that people get.
  ///
  /// - Throws: as ``line(_:)``.
  func print(_ message: some Message, table: () -> String) throws {
    try Output.line(format == .json ? message.json.text : table())
  }

  /// Prints JSON, or the text that people get.
  ///
  /// - Throws: as ``line(_:)``.
  func print(_ json: JSONValue, table: () -> String) throws {
    try Output.line(format == .json ? json.text : table())
  }

  /// Prints a message of a stream as JSON, or as the text that people get of it, if any.
  ///
  /// - Throws: as ``line(_:)``.
  func show(_ message: some Message, _ text: String?) throws {
    if format == .json {
      try Output.line(message.json.text)
    } else if let text {
      try Output.line(text)
    }
  }

  /// Says something beside the answer.
  static func note(_ text: String) {
    _ = write(Array("keelson: \(text.printable(keepsLines: true))\n".utf8), to: STDERR_FILENO)
  }

  /// Prints a line, at once.
  ///
  /// - Throws: `RPCError` that says why it cannot be written: a disk that is full, for example.
  static func line(_ text: String) throws {
    guard write(Array("\(text)\n".utf8), to: STDOUT_FILENO) else {
      throw InputFile.failure("The output cannot be written")
    }
  }

  /// Writes all of it.
  ///
  /// - Returns: false when it cannot be; `errno` says why.
  static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  static let option = Command.Option(
    name: "output", value: "FORMAT", help: "How to print the answer.", defaultValue: "table",
    choices: Format.allCases.map(\.rawValue))
}
