extension Command {
  /// The command's help page.
  ///
  /// - Parameter path: the words that lead to the command, its own last.
  func help(path: [String]) -> String {
    var lines = ["\(summary).", "", "Usage: \(usage(path: path))"]
    if !discussion.isEmpty { lines += [""] + discussion.wrapped(columns: 100) }
    if !arguments.isEmpty {
      lines += ["", "Arguments:"] + Self.columns(arguments.map { ($0.name, $0.help) })
    }
    if !subcommands.isEmpty {
      lines += ["", "Commands:"] + Self.columns(subcommands.map { ($0.name, $0.summary) })
    }
    if !options.isEmpty {
      lines += ["", "Options:"] + Self.columns(options.map { ($0.heading, $0.explanation) })
    }
    if !subcommands.isEmpty {
      lines += ["", "'\(path.joined(separator: " ")) COMMAND --help' says more about a command."]
    }
    return lines.joined(separator: "\n")
  }

  private func usage(path: [String]) -> String {
    var words = path
    if !subcommands.isEmpty { words.append("COMMAND") }
    words += arguments.map { $0.isOptional ? "[\($0.name)]" : $0.name }
    if !options.isEmpty { words.append("[OPTIONS]") }
    return words.joined(separator: " ")
  }

  /// Two columns; what does not fit beside its heading goes below it.
  private static func columns(_ rows: [(String, String)]) -> [String] {
    let width = min(28, (rows.map(\.0.count).max() ?? 0) + 2)
    return rows.flatMap { heading, text -> [String] in
      let indent = String(repeating: " ", count: width + 2)
      let lines = text.wrapped(columns: 98 - width)
      guard heading.count + 2 <= width else {
        return ["  \(heading)"] + lines.map { indent + $0 }
      }
      let first = "  " + heading + String(repeating: " ", count: width - heading.count)
      return [first + (lines.first ?? "")] + lines.dropFirst().map { indent + $0 }
    }
  }
}

extension Command.Option {
  var heading: String {
    value.map { "--\(name) \($0)" } ?? "--\(name)"
  }

  var explanation: String {
    var text = help
    if !choices.isEmpty { text += " One of: \(choices.joined(separator: ", "))." }
    if isRepeatable { text += " Can be given several times." }
    if let defaultValue { text += " Default: \(defaultValue)." }
    if let environmentVariable { text += " Environment variable: \(environmentVariable)." }
    return text
  }
}

extension String {
  /// The text in lines of at most so many characters, broken at spaces.
  func wrapped(columns: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in split(separator: " ") {
      if !line.isEmpty, line.count + 1 + word.count > columns {
        lines.append(line)
        line = ""
      }
      line += line.isEmpty ? String(word) : " \(word)"
    }
    return line.isEmpty ? lines : lines + [line]
  }
}
