import KeelsonCore

/// `keelson`: every command of the tool.
enum RootCommand {
  static let command: Command = Command(
    name: "keelson",
    summary: "The control plane for a fleet of services",
    discussion: """
      'keelson serve' runs the server, 'keelson worker' jobs; the other commands talk to a server.
      """,
    subcommands: [
      ServeCommand.command, FlagsCommand.command, SegmentsCommand.command,
      FlagSetsCommand.command, AuditCommand.command, EventsCommand.command, ConfigCommand.command,
      JobsCommand.command, SchedulesCommand.command, QueuesCommand.command,
      WorkerCommand.command, CacheCommand.command,
      HealthCommand.command,
      CertsCommand.command, LimitsCommand.command, version, completions,
    ])

  private static let version = Command(
    name: "version", summary: "Show the version of this binary",
    options: [Output.option]
  ) { invocation in
    switch Output(invocation).format {
    case .json:
      try Output.line(JSONValue.object(["version": .string(KeelsonVersion.current)]).text)
    case .table: try Output.line("keelson \(KeelsonVersion.current)")
    }
  }

  private static let completions: Command = Command(
    name: "completions", summary: "Print completions for a shell",
    discussion: "bash: source <(keelson completions bash)",
    arguments: [.init(name: "SHELL", help: "bash, zsh or fish.")]
  ) { invocation in
    let name = invocation.argument("SHELL")
    guard let shell = Shell(rawValue: name) else {
      throw UsageError("There are completions for bash, zsh and fish, not for '\(name)'.")
    }
    try Output.line(RootCommand.command.completions(for: shell))
  }
}
