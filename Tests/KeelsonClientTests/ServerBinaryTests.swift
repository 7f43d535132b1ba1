import Foundation
import KeelsonAPI
import KeelsonClient
import KeelsonCore
import Testing

/// The client library against the real server, as its users have them: only public API, over
/// HTTP/2. KEELSON_BINARY names the binary; without, it is the one built with the tests.
@Suite("The client against the real server", .timeLimit(.minutes(2)))
struct ServerBinaryTests {
  private func withDataFolder(_ body: (URL) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "keelson-client-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try await body(folder)
  }

  /// Creates a boolean flag that is on for Anna and off for others.
  private func createFlag(_ key: String, with client: KeelsonClient) async throws {
    let environment = try await client.health.getHealth().environment
    let targeting = #"{"if": [{"==": [{"var": "targetingKey"}, "anna"]}, "on", "off"]}"#
    _ = try await client.admin.flags.createFlag(
      .init(
        flag: .init(
          key: key, type: .boolean,
          environments: [
            environment: .init(enabled: true, defaultVariant: "off", targeting: targeting)
          ])))
  }

  /// Reads changes until one concerns a flag.
  private func awaitChange(of key: String, in changes: FlagChanges) async {
    for await change in changes where change.concerns(key) { return }
    Issue.record("the changes ended")
  }

  @Test("connects, evaluates, and sees changes as they happen")
  func evaluates() async throws {
    try await withDataFolder { folder in
      let server = try await KeelsonProcess.start(data: folder)
      let client = try await KeelsonClient.connect(to: server.address)
      #expect(client.flags.state == .current)
      let isReady = try await client.health.isReady()
      #expect(isReady)

      let changes = client.flags.changes
      try await createFlag("new-checkout", with: client)
      await awaitChange(of: "new-checkout", in: changes)
      #expect(client.flags.bool("new-checkout", default: false, context: ["targetingKey": "anna"]))
      #expect(!client.flags.bool("new-checkout", default: true, context: ["targetingKey": "bob"]))

      _ = try await client.admin.flags.toggleFlag(.init(key: "new-checkout", enabled: false))
      await awaitChange(of: "new-checkout", in: changes)
      let details = client.flags.boolDetails("new-checkout", default: true)
      #expect(details.value)
      #expect(details.reason == .disabled)

      let error = await #expect(throws: RPCError.self) {
        try await client.admin.flags.getFlag(.init(key: "missing"))
      }
      #expect(error?.code == .notFound)
      #expect(error?.details.isEmpty == false)

      await client.shutdown()
      #expect(await server.stop() == 0)
    }
  }

  @Test("recovers by itself when the server is killed and started again, and catches up")
  func recovers() async throws {
    try await withDataFolder { folder in
      let first = try await KeelsonProcess.start(data: folder)
      var configuration = KeelsonClient.Configuration(server: first.address)
      configuration.connectionBackoff.initial = .milliseconds(50)
      let client = try KeelsonClient(configuration)
      try await client.flags.waitUntilReady(timeout: .seconds(30))
      let changes = client.flags.changes
      try await createFlag("a", with: client)
      await awaitChange(of: "a", in: changes)

      await first.crash()
      #expect(client.flags.bool("a", default: false, context: ["targetingKey": "anna"]))
      let second = try await KeelsonProcess.start(data: folder, listen: first.address)
      // Another client makes the change, so that this one has to find back alone.
      let other = try await KeelsonClient.connect(to: second.address)
      _ = try await other.admin.flags.toggleFlag(.init(key: "a", enabled: false))
      await awaitChange(of: "a", in: changes)
      #expect(!client.flags.bool("a", default: false, context: ["targetingKey": "anna"]))
      #expect(client.flags.state == .current)
      #expect(client.flags.status.attempts > 1)

      await other.shutdown()
      await client.shutdown()
      #expect(await second.stop() == 0)
    }
  }

  @Test("says what to do when there is no server")
  func noServer() async throws {
    try await withDataFolder { folder in
      let socket = "unix:\(folder.path)/none.sock"
      let error = await #expect(throws: RPCError.self) {
        try await KeelsonClient.connect(to: socket, timeout: .milliseconds(300))
      }
      #expect(error?.code == .unavailable)
      #expect(error?.message.contains(socket) == true)
      #expect(error?.message.contains("keelson serve") == true)
    }
    let error = await #expect(throws: RPCError.self) {
      try await KeelsonClient.connect(to: "http://example.com")
    }
    #expect(error?.code == .invalidArgument)
  }

  @Test("an environment that cannot be is refused at once")
  func refusedEnvironment() async throws {
    try await withDataFolder { folder in
      let server = try await KeelsonProcess.start(data: folder)
      let error = await #expect(throws: RPCError.self) {
        try await KeelsonClient.connect(
          to: server.address, environment: "no such environment!", timeout: .seconds(60))
      }
      #expect(error?.code == .invalidArgument)
      #expect(await server.stop() == 0)
    }
  }
}
