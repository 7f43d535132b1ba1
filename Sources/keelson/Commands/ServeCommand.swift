import Glibc
import KeelsonCore
import KeelsonServer

/// `keelson serve`: the server itself.
enum ServeCommand {
  static let command = Command(
    name: "serve", summary: "Run the server",
    discussion: """
      Serves until SIGTERM or SIGINT; then running calls get their grace time, and everything that \
      was acknowledged is on disk.
      """,
    options: [
      .init(
        name: "listen", value: "ADDRESS",
        help:
          "Where to listen: 127.0.0.1:7400, [::1]:7400 or unix:/path; port 0 takes any free one.",
        defaultValue: "127.0.0.1:7400", isRepeatable: true),
      .init(
        name: "data", value: "FOLDER", help: "Where the data is kept; made when it is not there.",
        defaultValue: "./keelson-data", environmentVariable: "KEELSON_DATA"),
      .init(
        name: "environment", value: "NAME",
        help: "The environment that a request means which names none.",
        defaultValue: "development", environmentVariable: "KEELSON_ENVIRONMENT"),
      .init(
        name: "insecure-remote-plaintext",
        help: "Serve without encryption on addresses that other machines reach."),
      .init(
        name: "no-reflection",
        help: "Do not tell clients which services and messages there are."),
      .init(
        name: "log-level", value: "LEVEL", help: "The least level that is logged.",
        defaultValue: "info", choices: Logger.Level.allCases.map(\.rawValue)),
      .init(
        name: "loops", value: "N",
        help: "How many threads serve connections; one for each core when not given."),
      .init(
        name: "drain-seconds", value: "SECONDS",
        help: "How long running calls get to finish when stopping.", defaultValue: "10"),
      .init(
        name: "limit", value: "NAME=VALUE",
        help: "Sets a limit, ahead of KEELSON_LIMITS; 'keelson limits' lists them.",
        isRepeatable: true),
    ]
  ) { invocation in
    var settings = ServerSettings()
    settings.listen = invocation.all("listen")
    settings.dataFolder = invocation.option("data") ?? settings.dataFolder
    settings.environment = invocation.option("environment") ?? settings.environment
    settings.allowsInsecureRemote = invocation.has("insecure-remote-plaintext")
    settings.servesReflection = !invocation.has("no-reflection")
    settings.logLevel =
      invocation.option("log-level").flatMap(Logger.Level.init) ?? settings.logLevel
    settings.loops = try invocation.integer("loops")
    if let loops = settings.loops, !(1...1_024).contains(loops) {
      throw UsageError("--loops takes a number from 1 to 1024.")
    }
    guard let grace = try invocation.integer("drain-seconds", as: Int.self), grace >= 0 else {
      throw UsageError("--drain-seconds takes a number from 0.")
    }
    settings.drainGrace = .seconds(grace)
    settings.limits = try limits(invocation.all("limit"))
    try await KeelsonServer(settings: settings).run { addresses in
      for address in addresses {
        Output.line("Keelson \(KeelsonVersion.current) is serving on \(address)")
      }
    }
  }
  /// The limits as the environment sets them and then the options.
  private static func limits(_ assignments: [String]) throws -> ServerLimits {
    var limits = ServerLimits()
    do throws(RPCError) {
      if let list = unsafe getenv("KEELSON_LIMITS") {
        try limits.set(list: unsafe String(cString: list))
      }
      for assignment in assignments { try limits.set(assignment) }
    } catch {
      throw UsageError(error.message)
    }
    return limits
  }
}
