import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

@testable import KeelsonClient

@Suite("A stream of events", .timeLimit(.minutes(5)))
struct EventStreamTests {
  private typealias API = KeelsonEventsV1
  private typealias Responses = ResponseWriter<KeelsonEventsV1.SubscribeResponse>

  /// A server whose streams end as the test says: each call gets the next part of a script.
  private final class ScriptedServer: Sendable {
    typealias Part =
      @Sendable (API.SubscribeRequest, ResponseWriter<API.SubscribeResponse>) async throws -> Void

    private let script: [Part]
    private let seen = Mutex<[API.SubscribeRequest]>([])

    init(_ script: [Part]) {
      self.script = script
    }

    var requests: [API.SubscribeRequest] { seen.withLock { $0 } }

    var routes: [Route] {
      [
        .serverStreaming(API.EventServiceMethods.subscribe) {
          (
            request: API.SubscribeRequest, responses: ResponseWriter<API.SubscribeResponse>, _
          ) in
          let number = self.seen.withLock { seen in
            seen.append(request)
            return seen.count
          }
          guard number <= self.script.count else {
            throw RPCError(.invalidArgument, "The script has ended.")
          }
          try await self.script[number - 1](request, responses)
        }
      ]
    }
  }

  private static func response(_ revision: Int64) -> KeelsonEventsV1.SubscribeResponse {
    var event = IoCloudeventsV1.CloudEvent(
      id: "e\(revision)", source: "/test", specVersion: "1.0", type: "keelson.flags.T",
      data: .textData(#"{"n":\#(revision)}"#))
    event.attributes["sequence"] = .init(attr: .ceString("000\(revision)"))
    event.attributes["subject"] = .init(attr: .ceString("default/a"))
    return .init(revision: revision, content: .event(event))
  }

  private static func heartbeat(
    _ revision: Int64, interval: Duration = .seconds(40)
  ) -> KeelsonEventsV1.SubscribeResponse {
    .init(revision: revision, content: .heartbeat(.init(interval: .init(interval))))
  }

  /// A call that goes on until its client or its server ends it.
  private static func untilCancelled() async throws {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
    for await _ in stream {}
    continuation.finish()
    try Task.checkCancellation()
  }

  /// Runs a body with a client of a scripted server that waits little between calls.
  private func run(
    _ script: [ScriptedServer.Part],
    _ body: (ScriptedServer, KeelsonClient) async throws -> Void
  ) async throws {
    let server = ScriptedServer(script)
    var configuration = KeelsonClient.Configuration()
    configuration.subscribesToFlags = false
    configuration.subscription.backoff.initial = .milliseconds(1)
    configuration.subscription.backoff.maximum = .milliseconds(2)
    configuration.subscription.heartbeatIntervals = .milliseconds(1)...(.seconds(60))
    try await withInProcessChannel(to: server.routes) { channel in
      let client = KeelsonClient(channel: channel, configuration)
      try await body(server, client)
      await client.shutdown()
    }
  }

  @Test("goes on after the last event when a call ends, however it ends")
  func resumes() async throws {
    try await run([
      { _, responses in
        try await responses.write(Self.heartbeat(4))
        try await responses.write(Self.response(5))
        throw RPCError(.unavailable, "The server is stopping.")
      },
      { _, responses in
        try await responses.write(Self.heartbeat(5))
        throw RPCError(.internalError, "A bug.")
      },
      { _, responses in try await responses.write(Self.heartbeat(8)) },
      { _, responses in
        try await responses.write(Self.heartbeat(8))
        try await responses.write(Self.response(9))
        try await Self.untilCancelled()
      },
    ]) { server, client in
      var events = client.events.subscribe(types: ["keelson.flags.*"]).makeAsyncIterator()
      let first = try #require(try await events.next())
      #expect(first.revision == 5)
      #expect(first.position == 5)
      #expect(first.subject == "default/a")
      #expect(first.data == ["n": 5])
      #expect(try await events.next()?.revision == 9)
      #expect(
        server.requests.map(\.start) == [
          nil, .afterRevision(5), .afterRevision(5), .afterRevision(8),
        ])
      #expect(server.requests.allSatisfy { $0.types == ["keelson.flags.*"] })
      #expect(server.requests[0].classes == [.durable])
    }
  }

  @Test("a stream that began nowhere yet begins there again")
  func beginsAgain() async throws {
    try await run([
      { _, _ in throw RPCError(.unavailable, "The server is stopping.") },
      { _, responses in
        try await responses.write(Self.heartbeat(0))
        throw RPCError(.unavailable, "The server is stopping.")
      },
      { _, responses in try await responses.write(Self.response(1)) },
    ]) { server, client in
      var events = client.events.subscribe(from: .oldest).makeAsyncIterator()
      let first = try await events.next()
      #expect(first?.revision == 1)
      #expect(
        server.requests.map(\.start) == [.fromOldest(true), .fromOldest(true), .afterRevision(0)])
    }
  }

  @Test("what trying again does not cure is thrown, once")
  func fatal() async throws {
    for code in [RPCError.Code.outOfRange, .invalidArgument, .unimplemented, .permissionDenied] {
      try await run([{ _, _ in throw RPCError(code, "No.") }]) { server, client in
        var events = client.events.subscribe(from: .after(3)).makeAsyncIterator()
        let error = await #expect(throws: RPCError.self) { _ = try await events.next() }
        #expect(error?.code == code)
        #expect(server.requests.map(\.start) == [.afterRevision(3)])
        let after = try await events.next()
        #expect(after == nil)
      }
    }
  }

  @Test("what was left out is counted with the next event")
  func dropped() async throws {
    try await run([
      { _, responses in
        for count in [3, 4] as [Int64] {
          try await responses.write(.init(revision: 1, content: .dropped(.init(count: count))))
        }
        try await responses.write(Self.response(2))
        try await responses.write(Self.response(3))
      }
    ]) { server, client in
      var events = client.events.subscribe(classes: [.telemetry]).makeAsyncIterator()
      let (first, second) = (try await events.next(), try await events.next())
      #expect(first?.droppedBefore == 7)
      #expect(second?.droppedBefore == 0)
      #expect(server.requests[0].classes == [.telemetry])
    }
  }

  @Test("a server that is silent for two heartbeats is given up")
  func silence() async throws {
    let silent: ScriptedServer.Part = { _, responses in
      try await responses.write(Self.heartbeat(1, interval: .milliseconds(100)))
      try await Self.untilCancelled()
    }
    // On a busy machine an answer may come too late, and be asked for again.
    let answers = [ScriptedServer.Part](
      repeating: { _, responses in
        try await responses.write(Self.response(2))
      }, count: 100)
    try await run([silent] + answers) { server, client in
      var events = client.events.subscribe().makeAsyncIterator()
      let event = try await events.next()
      #expect(event?.revision == 2)
      #expect(server.requests.count >= 2)
    }
  }

  @Test("shutting the client down ends it, and so does cancelling its task")
  func ends() async throws {
    let isRead = Signal<Void>()
    try await run([
      { _, responses in
        try await responses.write(Self.response(1))
        try await Self.untilCancelled()
      },
      { _, responses in
        try await responses.write(Self.response(1))
        try await Self.untilCancelled()
      },
    ]) { _, client in
      let cancelled = Task {
        for try await _ in client.events.subscribe() { isRead.send() }
      }
      await isRead.wait()
      cancelled.cancel()
      await #expect(throws: CancellationError.self) { try await cancelled.value }

      var events = client.events.subscribe().makeAsyncIterator()
      let event = try await events.next()
      #expect(event?.revision == 1)
      await client.shutdown()
      let end = try await events.next()
      #expect(end == nil)
      var late = client.events.subscribe().makeAsyncIterator()
      let none = try await late.next()
      #expect(none == nil)
    }
  }
}
