import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

@testable import KeelsonClient

@Suite("Calls get what the configuration says")
struct PresetTests {
  /// Notes what each call came with.
  private final class Recorder: Sendable {
    private let contexts = Mutex<[ServerContext]>([])

    var last: ServerContext? { contexts.withLock { $0.last } }

    var routes: [Route] {
      [
        .unary(KeelsonFlagsV1.FlagServiceMethods.getFlag) {
          (request: KeelsonFlagsV1.GetFlagRequest, context) in
          self.contexts.withLock { $0.append(context) }
          return KeelsonFlagsV1.Flag(key: request.key)
        },
        .serverStreaming(KeelsonFlagsV1.FlagServiceMethods.watchFlags) {
          (
            _: KeelsonFlagsV1.WatchFlagsRequest,
            _: ResponseWriter<KeelsonFlagsV1.WatchFlagsResponse>, context
          ) in
          self.contexts.withLock { $0.append(context) }
        },
      ]
    }
  }

  private let recorder = Recorder()

  private func withClient(_ body: (KeelsonClient) async throws -> Void) async throws {
    var configuration = KeelsonClient.Configuration()
    configuration.subscribesToFlags = false
    configuration.defaultTimeout = .seconds(7_777)
    configuration.metadata = ["x-team": "core", "x-role": "writer"]
    try await withInProcessChannel(to: recorder.routes) { channel in
      let client = KeelsonClient(channel: channel, configuration)
      try await body(client)
      await client.shutdown()
    }
  }

  @Test("unary calls: the default timeout and the metadata")
  func unary() async throws {
    try await withClient { client in
      let flag = try await client.admin.flags.getFlag(.init(key: "a"))
      #expect(flag.key == "a")
      let context = try #require(recorder.last)
      let remaining = try #require(context.deadline?.remaining)
      #expect(remaining > .seconds(7_000) && remaining <= .seconds(7_777))
      #expect(context.metadata["x-team"] == "core")
    }
  }

  @Test("what the call says itself wins")
  func overridden() async throws {
    try await withClient { client in
      let options = CallOptions(
        metadata: ["x-role": "reader", "x-other": "1"], timeout: .seconds(1_000))
      _ = try await client.admin.flags.getFlag(.init(key: "a"), options: options)
      let context = try #require(recorder.last)
      #expect(context.deadline.map { $0.remaining > .seconds(900) } == true)
      let roles = context.metadata.entries.filter { $0.name == "x-role" }
      #expect(roles.map(\.value) == [.string("reader")])
      #expect(context.metadata["x-team"] == "core")
      #expect(context.metadata["x-other"] == "1")
    }
  }

  @Test("streams: the metadata, and no timeout")
  func streaming() async throws {
    try await withClient { client in
      for try await _ in client.admin.flags.watchFlags(.init()) {}
      let context = try #require(recorder.last)
      #expect(context.deadline == nil)
      #expect(context.metadata["x-team"] == "core")
    }
  }

  @Test("stubs of one's own over the client's channel")
  func ownStubs() async throws {
    try await withClient { client in
      let stub = KeelsonFlagsV1.FlagServiceClient(channel: client.channel)
      _ = try await stub.getFlag(.init(key: "a"))
      #expect(recorder.last?.metadata["x-team"] == "core")
    }
  }
}
