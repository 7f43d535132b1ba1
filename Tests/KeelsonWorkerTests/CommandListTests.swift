import KeelsonAPI
import KeelsonClient
import KeelsonCore
import Testing

@testable import KeelsonWorker

@Suite struct CommandListTests {
  private func list(_ json: String) throws -> CommandList {
    var list = CommandList()
    try list.add(parsing: json, of: "The file x")
    return list
  }

  @Test func everyMemberIsRead() throws {
    let list = try list(
      """
      {"backup": {
        "path": "/usr/bin/backup", "arguments": ["--full", "--"], "allow_arguments": true,
        "allow_input": true, "environment": {"LANG": "C"}, "pass_environment": ["PATH"],
        "working_folder": "/srv", "timeout": "5m", "grace": "1s", "permanent_exit_codes": [64, 78]
      }, "plain": {"path": "/bin/true"}}
      """)
    let backup = try #require(list["backup"])
    #expect(backup.path == "/usr/bin/backup" && backup.arguments == ["--full", "--"])
    #expect(backup.allowsArguments && backup.allowsInput)
    #expect(backup.environment == ["LANG": "C"] && backup.passedVariables == ["PATH"])
    #expect(backup.workingFolder == "/srv")
    #expect(backup.timeout == .seconds(300) && backup.grace == .seconds(1))
    #expect(backup.permanentExitCodes == [64, 78])
    let plain = try #require(list["plain"])
    #expect(plain == AllowedCommand(path: "/bin/true"))
    #expect(!plain.allowsArguments && !plain.allowsInput && plain.workingFolder == "/")
    #expect(list.longestGrace == .seconds(10))
  }

  @Test(arguments: [
    ("", "is no JSON"), ("7", "is to be an object"),
    (#"{"a": 1}"#, "is to be an object with a path"),
    (#"{"a": {"path": "bin/x"}}"#, "needs a path that begins at the root"),
    (#"{"a": {"path": "/x", "shell": true}}"#, "has 'shell', which is not known"),
    (#"{"a": {"path": "/x", "arguments": "b"}}"#, "arguments that is not a list of texts"),
    (#"{"a": {"path": "/x", "arguments": [1]}}"#, "arguments that is not a list of texts"),
    (#"{"a": {"path": "/x", "allow_arguments": 1}}"#, "allow_arguments that is not true or false"),
    (#"{"a": {"path": "/x", "environment": {"B=": "c"}}}"#, "environment that is not"),
    (#"{"a": {"path": "/x", "working_folder": "y"}}"#, "working_folder that is not a folder"),
    (#"{"a": {"path": "/x", "timeout": "8d"}}"#, "timeout that is not a time"),
    (#"{"a": {"path": "/x", "grace": "0s"}}"#, "grace that is not a time"),
    (#"{"a": {"path": "/x", "permanent_exit_codes": [256]}}"#, "numbers from 1 to 255"),
    (#"{"a/b": {"path": "/x"}}"#, "'a/b' is no name for a command"),
  ])
  func whatIsWrongIsNamed(_ json: String, _ sentence: String) throws {
    let error = #expect(throws: RPCError.self) { try list(json) }
    #expect(error?.code == .invalidArgument)
    let message = try #require(error?.message)
    #expect(message.hasPrefix("The file x") && message.hasSuffix("."))
    #expect(message.contains(sentence), "\(message)")
  }

  @Test func aNameIsTakenOnce() throws {
    var list = try list(#"{"a": {"path": "/x"}}"#)
    let error = #expect(throws: RPCError.self) { try list.add("a", AllowedCommand(path: "/y")) }
    #expect(error?.message.contains("allowed twice") == true)
  }

  @Test func aCommandGetsWhatItIsGivenAndNothingElse() throws {
    let commands = try list(
      """
      {"a": {"path": "/x", "arguments": ["1"], "allow_arguments": true,
        "environment": {"B": "list", "C": "list"}, "pass_environment": ["A", "B", "MISSING"]}}
      """)
    let job = CommandJob(
      commands: commands, variables: ["A": "worker", "B": "worker", "SECRET": "s"], outputBytes: 10)
    let call = try job.call(.init(kind: .json(#"{"command": "a", "arguments": ["2", ""]}"#)))
    let program = job.program(call, jobID: "id", attempt: 3)
    #expect(program.arguments == ["1", "2", ""])
    #expect(
      program.environment == [
        "A": "worker", "B": "list", "C": "list", "KEELSON_JOB_ID": "id",
        "KEELSON_JOB_ATTEMPT": "3",
      ])
    #expect(program.input == nil && call.timeout == .seconds(3_600))
  }

  @Test func aJobAsksForNoMoreThanIsAllowed() throws {
    let job = CommandJob(
      commands: try list(#"{"a": {"path": "/x", "timeout": "1m"}}"#), variables: [:],
      outputBytes: 10)
    #expect(
      try job.call(.init(kind: .json(#"{"command": "a", "timeout": "1s"}"#))).timeout == .seconds(1)
    )
    for json in [
      #"{"command": "a", "timeout": "61s"}"#, #"{"command": "b"}"#,
      #"{"command": "a", "arguments": ["-x"]}"#, #"{"command": "a", "input": ""}"#, "{}",
    ] {
      let failure = #expect(throws: JobFailure.self) { try job.call(.init(kind: .json(json))) }
      #expect(failure?.isPermanent == true)
    }
  }
}
