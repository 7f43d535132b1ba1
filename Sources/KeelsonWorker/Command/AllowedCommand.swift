import KeelsonConfigurationRules
import KeelsonCore

/// A command that jobs may have run: what is run is said by whoever runs the worker, not by the job.
package struct AllowedCommand: Sendable, Hashable {
  /// The program, from the root on. Never a shell's line.
  var path: String
  /// What it gets first.
  var arguments: [String] = []
  /// Whether a job may add arguments behind these. One that begins with `-` is an option to most
  /// programs; a `--` at the end of `arguments` has them take it for none.
  var allowsArguments = false
  /// Whether a job may give it a standard input.
  var allowsInput = false
  /// Variables that it gets. Of the worker's own it gets those that are passed, and no others.
  var environment: [String: String] = [:]
  var passedVariables: [String] = []
  /// The folder that it runs in.
  var workingFolder = "/"
  /// How long it may run; a job can only ask for less.
  var timeout: Duration = .seconds(3_600)
  /// How long it may go on after SIGTERM, before SIGKILL.
  var grace: Duration = .seconds(10)
  /// Exit codes after which the job is not tried again.
  var permanentExitCodes: Set<Int> = []

  package static let longestTimeout: Duration = .seconds(7 * 86_400)
  package static let longestGrace: Duration = .seconds(3_600)

  /// A program without arguments, with the defaults.
  package init(path: String) {
    self.path = path
  }

  /// - Throws: ``RPCError`` INVALID_ARGUMENT with the member that is wrong, and why.
  init(_ value: JSONValue) throws(RPCError) {
    guard case .object(let members) = value else {
      throw Self.problem("is to be an object with a path")
    }
    self.init(path: "")
    for (name, value) in members.sorted(by: { $0.key < $1.key }) {
      guard let member = Member(rawValue: name) else {
        throw Self.problem(
          "has '\(name)', which is not known"
            + NearestWord.suggestion(for: name, among: Member.allCases.map(\.rawValue)))
      }
      try set(member, value)
    }
    guard path.hasPrefix("/"), !path.utf8.contains(0) else {
      throw Self.problem("needs a path that begins at the root, such as /usr/bin/backup")
    }
  }

  private enum Member: String, CaseIterable {
    case path, arguments, environment, timeout, grace
    case allowArguments = "allow_arguments"
    case allowInput = "allow_input"
    case passEnvironment = "pass_environment"
    case workingFolder = "working_folder"
    case permanentExitCodes = "permanent_exit_codes"
  }

  private mutating func set(_ member: Member, _ value: JSONValue) throws(RPCError) {
    switch (member, value) {
    case (.path, .string(let text)): path = text
    case (.arguments, .array(let values)): arguments = try Self.texts(values, member)
    case (.allowArguments, .bool(let allows)): allowsArguments = allows
    case (.allowInput, .bool(let allows)): allowsInput = allows
    case (.passEnvironment, .array(let values)):
      passedVariables = try Self.texts(values, member)
    case (.environment, .object(let members)):
      for (name, value) in members {
        guard case .string(let text) = value, !name.isEmpty, !name.contains("="),
          !name.utf8.contains(0), !text.utf8.contains(0)
        else { throw Self.wrong(member, "an object of texts, by the names of variables") }
        environment[name] = text
      }
    case (.workingFolder, .string(let text)) where text.hasPrefix("/") && !text.utf8.contains(0):
      workingFolder = text
    case (.timeout, .string(let text)):
      timeout = try Self.duration(text, member, upTo: Self.longestTimeout)
    case (.grace, .string(let text)):
      grace = try Self.duration(text, member, upTo: Self.longestGrace)
    case (.permanentExitCodes, .array(let values)):
      for value in values {
        guard case .number(let number) = value, let code = Int(exactly: number),
          (1...255).contains(code)
        else { throw Self.wrong(member, "a list of numbers from 1 to 255") }
        permanentExitCodes.insert(code)
      }
    case (.path, _): throw Self.wrong(member, "a text")
    case (.arguments, _), (.passEnvironment, _): throw Self.wrong(member, "a list of texts")
    case (.allowArguments, _), (.allowInput, _): throw Self.wrong(member, "true or false")
    case (.environment, _):
      throw Self.wrong(member, "an object of texts, by the names of variables")
    case (.workingFolder, _): throw Self.wrong(member, "a folder, from the root on")
    case (.timeout, _), (.grace, _): throw Self.wrong(member, "a time such as \"30s\" or \"5m\"")
    case (.permanentExitCodes, _): throw Self.wrong(member, "a list of numbers from 1 to 255")
    }
  }

  private static func texts(
    _ values: [JSONValue], _ member: Member
  ) throws(RPCError) -> [String] {
    var texts: [String] = []
    for value in values {
      guard case .string(let text) = value, !text.utf8.contains(0) else {
        throw wrong(member, "a list of texts")
      }
      texts.append(text)
    }
    return texts
  }

  private static func duration(
    _ text: String, _ member: Member, upTo limit: Duration
  ) throws(RPCError) -> Duration {
    guard let duration = DurationText.duration(text), duration >= .milliseconds(1),
      duration <= limit
    else { throw wrong(member, "a time such as \"30s\" or \"5m\", up to \(limit)") }
    return duration
  }

  private static func wrong(_ member: Member, _ right: String) -> RPCError {
    problem("has a \(member.rawValue) that is not \(right)")
  }

  private static func problem(_ text: String) -> RPCError { RPCError(.invalidArgument, text) }
}
