import KeelsonClient
import KeelsonCore

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
    Output.option,
  ]

  /// Connects, runs a body and closes the connection, whatever happens.
  static func run(
    _ invocation: Invocation, _ body: @Sendable (Session) async throws -> Void
  ) async throws {
    let address = invocation.option("server") ?? "127.0.0.1:7400"
    guard let seconds = try invocation.integer("timeout", as: Int.self), seconds > 0 else {
      throw UsageError("--timeout takes a number of seconds above 0.")
    }
    var configuration = KeelsonClient.Configuration(server: address)
    configuration.defaultTimeout = .seconds(seconds)
    // Commands ask for what they show; nothing is evaluated here.
    configuration.subscribesToFlags = false
    let client = try KeelsonClient(configuration)
    let session = Session(client: client, output: Output(invocation))
    do {
      try await body(session)
    } catch let error as RPCError where error.code == .unavailable && client.isOutOfReach {
      await client.shutdown()
      throw RPCError(
        .unavailable,
        // The message begins with the address.
        "Cannot reach Keelson at \(error.message) Start it with 'keelson serve', or "
          + "name another server with --server or KEELSON_SERVER.")
    } catch {
      await client.shutdown()
      throw error
    }
    await client.shutdown()
  }

  /// The environment that `--environment` names, or the server's own.
  func environment(_ invocation: Invocation) async throws -> String {
    if let name = invocation.option("environment") { return name }
    return try await client.health.getHealth().environment
  }
}
