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
  func print(_ message: some Message, table: () -> String) {
    switch format {
    case .json: Output.line(message.json.text)
    case .table: Output.line(table())
    }
  }

  /// Prints JSON, or the text that people get.
  func print(_ json: JSONValue, table: () -> String) {
    Output.line(format == .json ? json.text : table())
  }

  /// Says something beside the answer.
  static func note(_ text: String) {
    let line = Array("keelson: \(text)\n".utf8)
    _ = line.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// Prints a line and makes sure that whoever reads a pipe sees it now.
  static func line(_ text: String) {
    Swift.print(text)
    fflush(nil)
  }

  static let option = Command.Option(
    name: "output", value: "FORMAT", help: "How to print the answer.", defaultValue: "table",
    choices: Format.allCases.map(\.rawValue))
}
