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
    try await run(try WorkerSettings(invocation), invocation)
  }

  // MARK: Running

  private static func run(_ settings: WorkerSettings, _ invocation: Invocation) async throws {
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
        var (level, message) = (Logger.Level.info, "A job is done.")
        switch error {
        case nil: break
        case is CancellationError: message = "A job was broken off."
        case let error?:
          (level, message) = (.warning, "A job has failed.")
          // A command or a server may have said anything.
          fields.append(("error", "\(error)".printable()))
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
