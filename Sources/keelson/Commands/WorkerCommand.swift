import Glibc
import KeelsonClient
import KeelsonCore
import KeelsonServer
import KeelsonWorker

/// `keelson worker`: a process that runs the built-in kinds of job.
enum WorkerCommand {
  static let command = Command(
    name: "worker", summary: "Run jobs of the built-in kinds",
    discussion: """
      Takes jobs from a server until SIGTERM or SIGINT; then it takes no more, lets those that run \
      end within --drain-timeout, hands the others back, and exits with 0. A second signal ends it at \
      once. Kinds: keelson.http calls a URL, keelson.command runs a command that is allowed here, \
      keelson.audit.archive, keelson.events.compact and keelson.jobs.prune are Keelson's own chores. \
      docs/jobs.md has their parameters.
      """,
    options: [
      .init(
        name: "name", value: "NAME",
        help: "What the server calls it; the host's name if not given.",
        environmentVariable: "KEELSON_WORKER_NAME"),
      .init(
        name: "queues", value: "QUEUE,...", help: "The queues that it takes jobs from.",
        defaultValue: "default", environmentVariable: "KEELSON_WORKER_QUEUES", isRepeatable: true),
      .init(
        name: "kinds", value: "KIND,...",
        help: "The kinds that it runs; all when not given, keelson.command only with a command.",
        environmentVariable: "KEELSON_WORKER_KINDS", isRepeatable: true),
      .init(
        name: "concurrency", value: "N", help: "How many jobs run at the same time, 1 to 10000.",
        defaultValue: "10", environmentVariable: "KEELSON_WORKER_CONCURRENCY"),
      .init(
        name: "drain-timeout", value: "TIME",
        help: "How long jobs may go on when stopping, before they are handed back.",
        defaultValue: "30s"),
      .init(
        name: "allow-command-file", value: "FILE",
        help: "A JSON file with the commands that jobs may have run.", isRepeatable: true),
      .init(
        name: "allow-command", value: "NAME=PATH",
        help: "A command that jobs may have run: a program from the root on, without arguments.",
        isRepeatable: true),
      .init(
        name: "http-allow", value: "HOST",
        help: "What keelson.http may call: a name, *.NAME for all below it, either with :PORT; an "
          + "address or range, 10.0.0.0/8; or * for whatever has a public address, which is all "
          + "that is called when this is not given.",
        isRepeatable: true),
      .init(
        name: "http-ca", value: "FILE",
        help: "Who may have issued the certificates of what is called, PEM; without: whom the "
          + "system trusts."),
      .init(
        name: "output-size", value: "SIZE",
        help: "How much results keep of an answer's body, and of each stream of a command.",
        defaultValue: "24KiB"),
      .init(
        name: "log-level", value: "LEVEL", help: "The least level that is logged.",
        defaultValue: "info", choices: Logger.Level.allCases.map(\.rawValue)),
    ] + Session.connectionOptions
  ) { invocation in
    try await run(try Settings(invocation), invocation)
  }

  /// What the options come to.
  struct Settings {
    var name: String
    var queues: [String]
    /// nil: the usual ones.
    var kinds: [String]?
    var concurrency: Int
    var drainTimeout: Duration
    var rules: BuiltInJobs.Rules
    var logLevel: Logger.Level

    /// - Throws: ``UsageError`` for an option that cannot be meant, `RPCError` for a file.
    init(_ invocation: Invocation) throws {
      name = try invocation.option("name") ?? WorkerCommand.hostName()
      queues = WorkerCommand.list("queues", invocation)
      guard !queues.isEmpty else { throw UsageError("--queues names no queue.") }
      let kinds = WorkerCommand.list("kinds", invocation)
      guard !invocation.has("kinds") || !kinds.isEmpty else {
        throw UsageError("--kinds names no kind.")
      }
      self.kinds = kinds.isEmpty ? nil : kinds
      concurrency = try invocation.integer("concurrency") ?? 10
      guard (1...10_000).contains(concurrency) else {
        throw UsageError("--concurrency takes a number from 1 to 10000, not \(concurrency).")
      }
      drainTimeout = try JobOptions.duration("drain-timeout", invocation) ?? .seconds(30)
      rules = try WorkerCommand.rules(invocation)
      logLevel = invocation.option("log-level").flatMap(Logger.Level.init) ?? .info
    }
  }

  private static func list(_ name: String, _ invocation: Invocation) -> [String] {
    invocation.all(name).flatMap { $0.split(separator: ",") }
      .map { String($0.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
      .filter { !$0.isEmpty }
  }

  /// The host's name, of characters that a worker's may have.
  private static func hostName() throws -> String {
    var bytes = [CChar](repeating: 0, count: 256)
    guard unsafe gethostname(&bytes, bytes.count - 1) == 0 else { return "worker" }
    let text = bytes.prefix { $0 != 0 }.map { Character(Unicode.Scalar(UInt8(bitPattern: $0))) }
    let name = String(
      text.filter { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
    )
    .drop { !$0.isLetter && !$0.isNumber }
    return name.isEmpty ? "worker" : String(name.prefix(128))
  }

  private static func rules(_ invocation: Invocation) throws -> BuiltInJobs.Rules {
    var rules: BuiltInJobs.Rules
    do throws(RPCError) {
      rules = BuiltInJobs.Rules(hosts: try HostRules(invocation.all("http-allow")))
      for assignment in invocation.all("allow-command") {
        let parts = assignment.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, parts[1].hasPrefix("/") else {
          throw RPCError(
            .invalidArgument,
            "--allow-command takes NAME=PATH with a path from the root on, not '\(assignment)'.")
        }
        try rules.commands.add(parts[0], AllowedCommand(path: parts[1]))
      }
    } catch {
      throw UsageError(error.message)
    }
    for file in invocation.all("allow-command-file") {
      try check(file, "The file \(file)", mayBeWrittenByOthers: false)
      try rules.commands.add(parsing: try InputFile.text(file), of: "The file \(file)")
    }
    for (name, path) in rules.commands.programs {
      try check(path, "The command '\(name)' cannot be run: \(path)", isProgram: true)
    }
    if let file = invocation.option("http-ca") {
      _ = try InputFile.text(file)
      rules.caFile = file
    }
    rules.variables = SettingOptions.variables
    rules.outputBytes = try bytes("output-size", invocation)
    return rules
  }

  /// Whoever may write the list of commands may run any.
  private static func check(
    _ path: String, _ what: String, isProgram: Bool = false, mayBeWrittenByOthers: Bool = true
  ) throws {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      throw InputFile.failure(isProgram ? what : "\(what) cannot be read")
    }
    if isProgram {
      guard status.st_mode & S_IFMT == S_IFREG, unsafe access(path, X_OK) == 0 else {
        throw RPCError(.failedPrecondition, "\(what) is no program that may be executed.")
      }
    }
    guard mayBeWrittenByOthers || status.st_mode & S_IWOTH == 0 else {
      throw RPCError(
        .failedPrecondition,
        "\(what) may be written by everybody, so it does not say what may be run: take that right "
          + "away (chmod o-w).")
    }
  }

  private static func bytes(_ name: String, _ invocation: Invocation) throws -> Int {
    let text = invocation.option(name) ?? ""
    var factor = 1
    var digits = Substring(text)
    for (unit, size) in [("KiB", 1 << 10), ("MiB", 1 << 20)] where text.hasSuffix(unit) {
      (digits, factor) = (text.dropLast(unit.count), size)
    }
    let range = BuiltInJobs.outputBytesRange
    guard let number = Int(digits), number >= 0, number <= range.upperBound,
      range.contains(number * factor)
    else {
      throw UsageError("--\(name) takes a size from 0 to 512KiB, 24KiB for example, not '\(text)'.")
    }
    return number * factor
  }

  // MARK: Running

  private static func run(_ settings: Settings, _ invocation: Invocation) async throws {
    let configuration = try Session.configuration(invocation)
    let server = Session.server(invocation)
    let log = LogWriter()
    let logger = log.logger(component: "worker", minimum: settings.logLevel)
    let client = try KeelsonClient(configuration)
    let builtIn = BuiltInJobs(client, settings.rules)
    let kinds = settings.kinds ?? builtIn.usualKinds
    let worker = JobWorker(
      client, name: settings.name, queues: settings.queues, concurrency: settings.concurrency,
      drainTimeout: settings.drainTimeout,
      farewellTimeout: settings.rules.commands.longestGrace + .seconds(10),
      observer: observer(logger, settings.name, server))
    do throws(RPCError) {
      try builtIn.register(kinds, with: worker)
    } catch {
      await client.shutdown()
      throw UsageError(error.message)
    }
    let termination = try Termination()
    logger.log(
      .info, "The worker starts.",
      [
        "version": KeelsonVersion.current, "name": settings.name, "server": server,
        "queues": settings.queues.joined(separator: ","), "kinds": kinds.joined(separator: ","),
        "concurrency": "\(settings.concurrency)",
      ])
    // A command has a pipe for each of its two streams and a descriptor for its end, and for a
    // moment both ends of the pipes and its input; a call has a connection.
    let files = settings.concurrency * filesPerJob
    if let fitting = OpenFiles.makeRoom(forConnections: files) {
      logger.log(
        .warning,
        "The system lets this process open files for \(fitting / filesPerJob) jobs at a time. Raise "
          + "the hard limit of open files (ulimit -Hn, LimitNOFILE), or lower --concurrency.")
    }
    let stopping = Task {
      let signal = await termination.wait()
      guard !Task.isCancelled else { return }
      logger.log(
        .info, "The worker stops: it takes no more jobs.",
        ["signal": signal, "drain_timeout": "\(settings.drainTimeout)"])
      worker.stop()
    }
    defer { log.flush() }
    do {
      try await worker.run()
    } catch {
      stopping.cancel()
      await client.shutdown()
      throw error
    }
    stopping.cancel()
    await client.shutdown()
    logger.log(.info, "The worker has stopped.")
  }

  private static let filesPerJob = 6

  private static func observer(
    _ logger: Logger, _ name: String, _ server: String
  ) -> JobWorkerObserver {
    JobWorkerObserver(
      connected: {
        logger.log(.info, "The server has welcomed the worker.", ["server": server])
        // Who reads it is gone, or its disk is full: that ends no worker.
        try? Output.line("Keelson \(KeelsonVersion.current) is working as \(name) for \(server)")
      },
      interrupted: { error in
        logger.log(
          .warning, "The server cannot be reached; the worker dials again.",
          ["server": server, "error": "\(error)"])
      },
      began: { run in
        logger.log(.info, "A job begins.", fields: fields(run), correlationID: run.correlationID)
      },
      ended: { run, error in
        var fields = fields(run)
        let (level, message): (Logger.Level, String) =
          switch error {
          case nil: (.info, "A job is done.")
          case is CancellationError: (.info, "A job was broken off.")
          case let error?:
            {
              // A command or a server may have said anything.
              fields.append(("error", "\(error)".printable()))
              return (.warning, "A job has failed.")
            }()
          }
        logger.log(level, message, fields: fields, correlationID: run.correlationID)
      })
  }

  private static func fields(_ run: JobRun) -> [(String, String)] {
    [
      ("job", run.id), ("attempt", "\(run.attempt)"), ("kind", run.kind), ("queue", run.queue),
    ]
  }
}
