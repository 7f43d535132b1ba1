import Glibc
import KeelsonAPI
import KeelsonClient
import KeelsonCore
import KeelsonServer

/// A command's connection to a server.
struct Session: Sendable {
  let client: KeelsonClient
  let output: Output

  static let options: [Command.Option] = [
    .init(
      name: "server", value: "ADDRESS",
      help: "The server: host:port or unix:/path.", defaultValue: "127.0.0.1:7400",
      environmentVariable: "KEELSON_SERVER"),
    .init(
      name: "timeout", value: "SECONDS", help: "How long to wait for an answer.",
      defaultValue: "10"),
    .init(
      name: "tls", help: "Connect with TLS; the options below imply it.",
      environmentVariable: "KEELSON_TLS"),
    .init(
      name: "tls-ca", value: "FILE",
      help: "Who may have issued the server's certificate, PEM; without: whom the system trusts.",
      environmentVariable: "KEELSON_TLS_CA"),
    .init(
      name: "tls-certificate", value: "FILE",
      help: "A certificate of the client's own, PEM, for servers that ask for one.",
      environmentVariable: "KEELSON_TLS_CERTIFICATE"),
    .init(
      name: "tls-key", value: "FILE", help: "The private key of that certificate, PEM.",
      environmentVariable: "KEELSON_TLS_KEY"),
    .init(
      name: "tls-server-name", value: "NAME",
      help: "The name that the server's certificate is for, if not the host of --server.",
      environmentVariable: "KEELSON_TLS_SERVER_NAME"),
    .init(
      name: "insecure-skip-tls-verification",
      help: "Connect with TLS to a server with any certificate; whoever is in between can listen."),
    Output.option,
  ]

  /// Those about the connection alone.
  static let connectionOptions = streamOptions.filter { $0.name != "output" }

  /// Those of commands whose calls last as long as they have something to say.
  static let streamOptions = options.filter { $0.name != "timeout" }

  /// Connects, runs a body and closes the connection, whatever happens.
  static func run(
    _ invocation: Invocation, _ body: @Sendable (Session) async throws -> Void
  ) async throws {
    var configuration = try configuration(invocation)
    // A person who types a command wants to know at once, and tries again where that makes sense.
    configuration.serviceConfig = ServiceConfig()
    let client = try KeelsonClient(configuration)
    let session = Session(client: client, output: Output(invocation))
    do {
      try await body(session)
    } catch let error as RPCError where error.code == .unavailable && client.isOutOfReach {
      await client.shutdown()
      // The message begins with the address.
      var message = "Cannot reach Keelson at \(error.message)"
      // Where TLS failed somebody was there.
      if error.message.hasSuffix("?") {
        message +=
          " Start it with 'keelson serve', or name another server with --server or KEELSON_SERVER."
      }
      throw RPCError(.unavailable, message)
    } catch {
      await client.shutdown()
      throw error
    }
    await client.shutdown()
  }

  /// The server that the options name, and how to connect to it.
  static func configuration(_ invocation: Invocation) throws -> KeelsonClient.Configuration {
    let seconds = try invocation.integer("timeout") ?? 10
    guard seconds > 0 else {
      throw UsageError("--timeout takes a number of seconds above 0.")
    }
    var configuration = KeelsonClient.Configuration(server: server(invocation))
    configuration.defaultTimeout = .seconds(seconds)
    // Commands ask for what they show; nothing is evaluated here.
    configuration.subscribesToFlags = false
    configuration.tls = try tls(invocation)
    return configuration
  }

  static func server(_ invocation: Invocation) -> String {
    invocation.option("server") ?? "127.0.0.1:7400"
  }

  /// Follows a stream of the server's until somebody presses Ctrl-C or sends SIGTERM, over the loss of
  /// the connection and of the server. Without a server to begin with, it fails at once.
  ///
  /// - Parameters:
  ///   - what: is followed, for errors: `audit entries` for example.
  ///   - first: the request of the first call.
  ///   - begin: begins a call.
  ///   - heartbeat: the interval of a heartbeat; nil: a message is none.
  ///   - take: prints a message, and makes the request of a call that goes on after it.
  func follow<Request: Sendable, Response>(
    _ what: String, from first: Request,
    begin: @escaping @Sendable (Request, CallOptions) -> ResponseStream<Response>,
    heartbeat: @escaping @Sendable (Response) -> GoogleProtobuf.Duration??,
    take: @escaping @Sendable (Response, inout Request) throws -> Void
  ) async throws {
    try await untilInterrupted {
      try await requireServer()
      var request = first
      let reader: SubscriptionReader<Response> = client.reader(
        of: what, heartbeat: { heartbeat($0).map { .init(interval: $0?.clampedDuration) } },
        onInterruption: { Output.note("\($0.message) Going on as soon as the server is back.") })
      while let response = try await reader.next(begin: { [request] in begin(request, $0) }) {
        try take(response, &request)
      }
    }
  }

  /// What is followed waits for its server for ever: whoever has named a wrong one is told at once.
  func requireServer() async throws {
    _ = try await client.health.getHealth()
  }

  /// Runs a body that makes a call anew whenever it has ended, also over the loss of the server.
  ///
  /// - Parameter body: is given the options of the call.
  func overLosses(_ body: (CallOptions) async throws -> Void) async throws {
    while true {
      do {
        try await body(CallOptions(waitForReady: true))
        Output.note("The server has ended the stream. Going on as soon as it is back.")
      } catch let error as RPCError where error.code == .unavailable {
        Output.note("\(error.message) Going on as soon as the server is back.")
      }
      try await Task.sleep(for: .milliseconds(500))
    }
  }

  /// Runs a body that goes on until somebody presses Ctrl-C or sends SIGTERM, which is no failure.
  func untilInterrupted(_ body: @escaping @Sendable () async throws -> Void) async throws {
    let termination = try Termination()
    // Whoever reads a pipe and has seen enough ends this, too. Connections raise no such signal.
    signal(SIGPIPE, SIG_DFL)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await body() }
      group.addTask { _ = await termination.wait() }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  /// How to secure the connection; nil: not at all.
  private static func tls(_ invocation: Invocation) throws -> TLSClientConfiguration? {
    let names = [
      "tls", "tls-ca", "tls-certificate", "tls-key", "tls-server-name",
      "insecure-skip-tls-verification",
    ]
    guard names.contains(where: invocation.has) else { return nil }
    var tls = TLSClientConfiguration()
    if let file = invocation.option("tls-ca") { tls.trustRoots = .certificates(.file(file)) }
    switch (invocation.option("tls-certificate"), invocation.option("tls-key")) {
    case (let certificate?, let key?):
      tls.credential = .init(certificate: .file(certificate), key: .file(key))
    case (nil, nil): break
    case (_?, nil): throw UsageError("--tls-certificate needs --tls-key as well.")
    case (nil, _?): throw UsageError("--tls-key needs --tls-certificate as well.")
    }
    tls.serverName = invocation.option("tls-server-name")
    tls.insecureSkipsVerification = invocation.has("insecure-skip-tls-verification")
    return tls
  }

  /// The environment that `--environment` names, or the server's own.
  func environment(_ invocation: Invocation) async throws -> String {
    if let name = invocation.option("environment") { return name }
    return try await client.health.getHealth().environment
  }
}
