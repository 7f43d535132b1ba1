/// One command of the tool: what it is called, what it takes, what it does. Help and shell
/// completions are made from the same description that parses.
struct Command: Sendable {
  let name: String
  /// One line, without a full stop.
  let summary: String
  /// More, for the command's own help.
  var discussion = ""
  var arguments: [Argument] = []
  var options: [Option] = []
  var subcommands: [Command] = []
  /// nil for a command that only groups others.
  var run: (@Sendable (Invocation) async throws -> Void)?

  /// A value that is named by its place.
  struct Argument: Sendable {
    let name: String
    let help: String
    var isOptional = false
  }

  /// A value that is named by `--name`.
  struct Option: Sendable {
    let name: String
    /// What stands for the value in help, `ADDRESS` for example; nil for an option without one.
    var value: String?
    let help: String
    /// Used when the option is not given.
    var defaultValue: String?
    /// Taken before the default when the option is not given.
    var environmentVariable: String?
    /// The values it can have; empty: any.
    var choices: [String] = []
    var isRepeatable = false
  }
}

/// What somebody typed, parsed.
struct Invocation: Sendable {
  var arguments: [String: String] = [:]
  var options: [String: [String]] = [:]
  /// The options that stand on the command line, others than those from the environment and
  /// defaults.
  var given: Set<String> = []

  /// An argument that the command declares as required.
  func argument(_ name: String) -> String {
    arguments[name] ?? ""
  }

  /// The last value given for an option, or its default.
  func option(_ name: String) -> String? {
    options[name]?.last
  }

  func all(_ name: String) -> [String] {
    options[name] ?? []
  }

  func has(_ name: String) -> Bool {
    options[name] != nil
  }

  /// A whole number.
  ///
  /// - Throws: ``UsageError`` when it is something else.
  func integer<Number: FixedWidthInteger>(_ name: String, as type: Number.Type = Number.self)
    throws -> Number?
  {
    guard let text = option(name) else { return nil }
    guard let number = Number(text) else {
      throw UsageError("--\(name) takes a whole number, not '\(text)'.")
    }
    return number
  }
}

/// Something in the command line that cannot be meant. Exit status 2.
struct UsageError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }
}
