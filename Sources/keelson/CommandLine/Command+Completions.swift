/// A shell that completions can be written for.
enum Shell: String, CaseIterable {
  case bash, zsh, fish
}

extension Command {
  /// A script that completes this command and all below it.
  func completions(for shell: Shell) -> String {
    switch shell {
    case .bash: bashCompletions
    case .zsh:
      """
      #compdef \(name)
      autoload -U +X bashcompinit && bashcompinit
      \(bashCompletions)
      """
    case .fish: fishCompletions
    }
  }

  /// Every command with the words that lead to it.
  private func all(under path: [String] = []) -> [(path: [String], command: Command)] {
    let path = path + [name]
    return [(path, self)] + subcommands.flatMap { $0.all(under: path) }
  }

  private var bashCompletions: String {
    var cases: [String] = []
    for (path, command) in all() {
      let words = command.subcommands.map(\.name) + command.options.map { "--\($0.name)" }
      cases.append(
        "    '\(path.joined(separator: " "))') words='\((words + ["--help"]).joined(separator: " "))' ;;"
      )
    }
    var values: [String] = []
    for (path, command) in all() {
      for option in command.options where !option.choices.isEmpty {
        values.append(
          "    '\(path.joined(separator: " ")) --\(option.name)') "
            + "words='\(option.choices.joined(separator: " "))' ;;")
      }
    }
    let known = all().map { "'\($0.path.joined(separator: " "))'" }.joined(separator: "|")
    return """
      _\(name)_completions() {
        local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
        local path='\(name)' words='' word
        for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
          case "$path $word" in
          \(known)) path="$path $word" ;;
          esac
        done
        case "$path" in
      \(cases.joined(separator: "\n"))
        esac
        case "$path $previous" in
      \(values.joined(separator: "\n"))
        esac
        COMPREPLY=($(compgen -W "$words" -- "$current"))
      }
      complete -o default -F _\(name)_completions \(name)
      """
  }

  private var fishCompletions: String {
    var lines: [String] = []
    for (path, command) in all() {
      let seen = path.dropFirst().map { "__fish_seen_subcommand_from \($0)" }
      let names = command.subcommands.map(\.name).joined(separator: " ")
      let here = seen.isEmpty ? "true" : seen.joined(separator: "; and ")
      for subcommand in command.subcommands {
        lines.append(
          "complete -c \(name) -f -n '\(here); and not __fish_seen_subcommand_from \(names)' "
            + "-a \(subcommand.name) -d '\(Self.quoted(subcommand.summary))'")
      }
      for option in command.options {
        var line = "complete -c \(name) -n '\(here)' -l \(option.name)"
        if option.value != nil { line += " -r" }
        if !option.choices.isEmpty { line += " -a '\(option.choices.joined(separator: " "))'" }
        lines.append(line + " -d '\(Self.quoted(option.help))'")
      }
    }
    return lines.joined(separator: "\n")
  }

  private static func quoted(_ text: String) -> String {
    text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "\\'")
  }
}
