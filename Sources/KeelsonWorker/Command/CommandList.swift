package import KeelsonCore

/// The commands that a worker runs, by the names that jobs use.
package struct CommandList: Sendable, Hashable {
  private(set) var commands: [String: AllowedCommand] = [:]

  package init() {}

  package var isEmpty: Bool { commands.isEmpty }

  var names: [String] { commands.keys.sorted() }

  subscript(name: String) -> AllowedCommand? { commands[name] }

  /// The programs, by the names of their commands.
  package var programs: [(name: String, path: String)] {
    names.compactMap { name in commands[name].map { (name, $0.path) } }
  }

  /// The longest time that any may go on after SIGTERM.
  package var longestGrace: Duration { commands.values.map(\.grace).max() ?? .zero }

  /// Adds a command.
  ///
  /// - Throws: ``RPCError`` INVALID_ARGUMENT for a name that is none, or is there already.
  package mutating func add(_ name: String, _ command: AllowedCommand) throws(RPCError) {
    let isName =
      (1...128).contains(name.utf8.count)
      && name.utf8.allSatisfy {
        switch $0 {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: ".-_".utf8.contains($0)
        }
      }
    guard isName else {
      throw RPCError(
        .invalidArgument,
        "'\(name.prefix(128))' is no name for a command: 1 to 128 letters, digits, '.', '-' and "
          + "'_'.")
    }
    guard commands[name] == nil else {
      throw RPCError(.invalidArgument, "The command '\(name)' is allowed twice; give one.")
    }
    commands[name] = command
  }

  /// Adds those of a file: an object with a member for each command.
  ///
  /// - Parameter file: what the text is called in sentences.
  /// - Throws: ``RPCError`` INVALID_ARGUMENT that names the file, the command and what is wrong.
  package mutating func add(parsing text: String, of file: String) throws(RPCError) {
    let value: JSONValue
    do { value = try JSONValue(parsing: text, refusesRepeatedNames: true) } catch {
      throw RPCError(.invalidArgument, "\(file) is no JSON: \(error).")
    }
    guard case .object(let members) = value else {
      throw RPCError(
        .invalidArgument,
        "\(file) is to be an object with a member for each command: "
          + "{\"backup\": {\"path\": \"/usr/bin/backup\"}}.")
    }
    for (name, value) in members.sorted(by: { $0.key < $1.key }) {
      do throws(RPCError) {
        try add(name, try AllowedCommand(value))
      } catch {
        throw RPCError(
          .invalidArgument,
          error.message.hasSuffix(".")
            ? "\(file): \(error.message)" : "\(file): the command '\(name)' \(error.message).")
      }
    }
  }
}
