import Glibc
import KeelsonCore

extension Command {
  /// What the words of a command line come to.
  enum Parsed: Sendable {
    case run(Command, Invocation)
    case help(Command, path: [String])
  }

  /// Finds the command that the words name and reads its arguments and options. `--help` anywhere
  /// asks for help; `--` ends the options; what begins like a negative number is none.
  ///
  /// - Throws: ``UsageError`` that says what is wrong and how to get help.
  func parse(_ words: [String], path: [String] = []) throws -> Parsed {
    let path = path + [name]
    if !subcommands.isEmpty {
      guard let first = words.first else { return .help(self, path: path) }
      if first == "--help" || first == "-h" || first == "help" { return .help(self, path: path) }
      guard let subcommand = subcommands.first(where: { $0.name == first }) else {
        let known = subcommands.map(\.name)
        throw UsageError(
          "'\(path.joined(separator: " "))' has no command '\(first)'"
            + NearestWord.suggestion(for: first, among: known)
            + "; it has \(known.joined(separator: ", ")).")
      }
      return try subcommand.parse(Array(words.dropFirst()), path: path)
    }
    var reader = Reader(command: self, path: path, words: words[...])
    return try reader.read()
  }

  /// Reads the words after a command's name.
  private struct Reader {
    let command: Command
    let path: [String]
    var words: ArraySlice<String>
    var invocation = Invocation()
    var places: [String] = []

    mutating func read() throws -> Parsed {
      var isPastOptions = false
      while let word = words.popFirst() {
        if isPastOptions || !word.hasPrefix("-") || word == "-" || isNegativeNumber(word) {
          places.append(word)
        } else if word == "--" {
          isPastOptions = true
        } else if word == "--help" || word == "-h" {
          return .help(command, path: path)
        } else {
          try readOption(word)
        }
      }
      try readPlaces()
      applyDefaults()
      return .run(command, invocation)
    }

    /// No option begins with a digit: `config set Offset -5` means the number.
    private func isNegativeNumber(_ word: String) -> Bool {
      let digits = word.dropFirst(word.hasPrefix("-.") ? 2 : 1)
      return digits.first.map { ("0"..."9").contains($0) } ?? false
    }

    private mutating func readOption(_ word: String) throws {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0].drop { $0 == "-" })
      guard word.hasPrefix("--"), let option = command.options.first(where: { $0.name == name })
      else {
        let known = command.options.map { "--\($0.name)" }
        throw usage(
          "has no option '\(parts[0])'"
            + NearestWord.suggestion(for: String(parts[0]), among: known))
      }
      var value = "true"
      if option.value == nil {
        guard parts.count == 1 else { throw usage("takes no value for --\(name)") }
      } else if parts.count == 2 {
        value = String(parts[1])
      } else if let next = words.popFirst() {
        value = next
      } else {
        throw usage("needs a value for --\(name)")
      }
      guard option.choices.isEmpty || option.value == nil || option.choices.contains(value) else {
        throw usage("takes --\(name) \(option.choices.joined(separator: "|")), not '\(value)'")
      }
      guard option.isRepeatable || invocation.options[name] == nil else {
        throw usage("takes --\(name) only once")
      }
      invocation.options[name, default: []].append(value)
      invocation.given.insert(name)
    }

    private mutating func readPlaces() throws {
      guard places.count <= command.arguments.count else {
        throw usage("has no use for '\(places[command.arguments.count])'")
      }
      for (index, argument) in command.arguments.enumerated() {
        if index < places.count {
          invocation.arguments[argument.name] = places[index]
        } else if !argument.isOptional {
          throw usage("needs \(argument.name)")
        }
      }
    }

    private mutating func applyDefaults() {
      for option in command.options where invocation.options[option.name] == nil {
        if let variable = option.environmentVariable, let value = unsafe getenv(variable),
          unsafe value.pointee != 0
        {
          let text = unsafe String(cString: value)
          // An option without a value is there or is not.
          if option.value == nil, ["0", "false", "no", "off"].contains(text.lowercased()) {
            continue
          }
          invocation.options[option.name] = [text]
        } else if let value = option.defaultValue {
          invocation.options[option.name] = [value]
        }
      }
    }

    private func usage(_ problem: String) -> UsageError {
      let name = path.joined(separator: " ")
      return UsageError("'\(name)' \(problem). See '\(name) --help'.")
    }
  }
}
