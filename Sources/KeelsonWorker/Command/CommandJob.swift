import Glibc
import KeelsonAPI
import KeelsonClient
import KeelsonCore
import Synchronization

/// `keelson.command`: a command of the worker's list.
///
/// What it writes is streamed into the job's log, and the end of it is in the result.
struct CommandJob: Sendable {
  static let kind = "keelson.command"
  /// Arguments that a job may add.
  static let maximumArguments = 256
  /// How often lines go to the server at most.
  private static let logInterval: Duration = .milliseconds(500)
  /// Bytes of the output's end in the sentence that says what went wrong.
  private static let shownBytes = 1_024

  let commands: CommandList
  /// The worker's own variables, of which commands get those that are passed to them.
  let variables: [String: String]
  /// Bytes that are kept of each stream: its end, as a string of JSON.
  let outputBytes: Int

  /// What runs.
  struct Call: Sendable {
    var name: String
    var command: AllowedCommand
    var arguments: [String] = []
    var input: [UInt8]?
    var timeout: Duration
  }

  func run(_ payload: KeelsonJobsV1.Payload?, _ job: JobRun) async throws -> KeelsonJobsV1.Payload {
    let call = try call(payload)
    let output = Output(limit: outputBytes)
    let program = program(call, jobID: job.id, attempt: job.attempt)
    let limit = TimeLimit(work: call.timeout, grace: call.command.grace, job: job.timeout)
    let outcome: ChildProcess.Outcome
    do {
      outcome = try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          while true {
            try await Task.sleep(for: Self.logInterval)
            output.takeLines().forEach(job.log)
          }
        }
        defer { group.cancelAll() }
        return try await ChildProcess.run(
          program, timeout: limit.work, grace: limit.grace
        ) { output.append($1, of: $0) }
      }
    } catch let error as RPCError {
      throw JobFailure("The command '\(call.name)' cannot be started: \(error.message).")
    }
    output.takeLines(isOver: true).forEach(job.log)
    try check(outcome, call, limit, output)
    return .init(kind: .json(output.result.text))
  }

  // MARK: Parameters

  func call(_ payload: KeelsonJobsV1.Payload?) throws(JobFailure) -> Call {
    var reader = try ParameterReader(payload, of: Self.kind)
    let name = reader.requiredText("command")
    let arguments = reader.texts("arguments") ?? []
    let input = reader.text("input")
    let command = commands[name]
    if !name.isEmpty, command == nil {
      let known = commands.names.isEmpty ? "none" : commands.names.joined(separator: ", ")
      reader.refuse(
        "command", "'\(name.prefix(128))' is none that this worker may run; it has \(known)")
    }
    if let command {
      if !arguments.isEmpty, !command.allowsArguments {
        reader.refuse("arguments", "are not allowed for the command '\(name)'")
      }
      if input != nil, !command.allowsInput {
        reader.refuse("input", "is not allowed for the command '\(name)'")
      }
    }
    if arguments.count > Self.maximumArguments {
      reader.refuse(
        "arguments", "are \(arguments.count); at most \(Self.maximumArguments) are allowed")
    }
    if arguments.contains(where: { $0.utf8.contains(0) }) {
      reader.refuse("arguments", "have a zero byte, which no argument can")
    }
    let longest = command?.timeout ?? AllowedCommand.longestTimeout
    let timeout = reader.duration("timeout", upTo: longest)
    try reader.finish()
    guard let command else { throw JobFailure("There is no command.", isPermanent: true) }
    return Call(
      name: name, command: command, arguments: arguments, input: input.map { Array($0.utf8) },
      timeout: timeout ?? longest)
  }

  func program(_ call: Call, jobID: String, attempt: Int) -> ChildProcess.Program {
    var environment: [String: String] = [:]
    for name in call.command.passedVariables { environment[name] = variables[name] }
    environment.merge(call.command.environment) { _, given in given }
    environment["KEELSON_JOB_ID"] = jobID
    environment["KEELSON_JOB_ATTEMPT"] = "\(attempt)"
    return ChildProcess.Program(
      path: call.command.path, arguments: call.command.arguments + call.arguments,
      environment: environment, workingFolder: call.command.workingFolder, input: call.input)
  }

  // MARK: The end

  private func check(
    _ outcome: ChildProcess.Outcome, _ call: Call, _ limit: TimeLimit, _ output: Output
  ) throws {
    let name = "The command '\(call.name)'"
    let said = output.lastWords(Self.shownBytes)
    switch (outcome.reason, outcome.end) {
    // Whatever it made of SIGTERM, nobody knows how far it got.
    case (.cancelled, _): throw CancellationError()
    case (.timeout, _):
      let why = limit.isJobs ? ", which is what the job's own timeout leaves it" : ""
      throw JobFailure("\(name) took longer than \(limit.work)\(why), and was ended.\(said)")
    case (nil, .exited(0)): return
    case (nil, .exited(let code)):
      throw JobFailure(
        "\(name) ended with exit code \(code).\(said)",
        isPermanent: call.command.permanentExitCodes.contains(code))
    case (nil, .signalled(let number)):
      let text = unsafe strsignal(number).map { unsafe String(cString: $0) } ?? "unknown"
      throw JobFailure("\(name) was ended by signal \(number) (\(text)).\(said)")
    }
  }

  /// What a command has written so far.
  private final class Output: Sendable {
    private struct State {
      var output: OutputTail
      var error: OutputTail
      var outputLines = LogLines()
      var errorLines = LogLines(prefix: "stderr: ")
    }

    private let limit: Int
    private let state: Mutex<State>

    init(limit: Int) {
      self.limit = limit
      state = Mutex(State(output: OutputTail(limit: limit), error: OutputTail(limit: limit)))
    }

    func append(_ bytes: [UInt8], of stream: ChildProcess.Stream) {
      state.withLock { state in
        switch stream {
        case .output:
          state.output.append(bytes)
          state.outputLines.append(bytes)
        case .error:
          state.error.append(bytes)
          state.errorLines.append(bytes)
        }
      }
    }

    func takeLines(isOver: Bool = false) -> [String] {
      state.withLock { state in
        state.outputLines.take(isOver: isOver) + state.errorLines.take(isOver: isOver)
      }
    }

    /// The end of what it said about what went wrong, ready to be put behind a sentence.
    func lastWords(_ bytes: Int) -> String {
      let (output, error) = state.withLock { ($0.output.bytes, $0.error.bytes) }
      let words = Excerpt.end(of: error.isEmpty ? output : error, jsonBytes: bytes).text.trimmed
      return words.isEmpty ? "" : " It said: \(words)"
    }

    var result: JSONValue {
      let (output, error) = state.withLock { ($0.output, $0.error) }
      var object: [String: JSONValue] = ["exit_code": 0]
      for (name, tail) in [("stdout", output), ("stderr", error)] {
        let end = Excerpt.end(of: tail.bytes, jsonBytes: limit)
        object[name] = .string(end.text)
        object["\(name)_bytes"] = .number(Double(tail.total))
        object["\(name)_cut"] = .bool(!end.isWhole || tail.bytes.count < tail.total)
      }
      return .object(object)
    }
  }
}
