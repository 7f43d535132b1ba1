import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonTransport

/// What a call has reaches the calls that its handler makes.
@Suite(.timeLimit(.minutes(5)))
struct PropagationTests {
  private static let method = MethodDescriptor(service: "test.P", name: "Call", kind: .unary)
  private static let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

  private static func start(_ handler: @escaping Route.Unary) async throws -> (Server, String) {
    var configuration = ServerConfiguration(addresses: [
      try ListenAddress(parsing: "127.0.0.1:0")
    ])
    configuration.loopCount = 1
    let server = Server(
      configuration: configuration, routes: [Route(method: method, handler: .unary(handler))],
      interceptors: [.correlation(), .trace(), .propagation()], logger: .silent)
    return (server, try await server.start()[0].description)
  }

  /// What the inner server saw of a call that the outer one made while serving another.
  private func seen(
    _ options: CallOptions, inner innerOptions: CallOptions = CallOptions()
  ) async throws -> ServerContext {
    let contexts = Mutex<[ServerContext]>([])
    let (inner, innerAddress) = try await Self.start { request, context in
      contexts.withLock { $0.append(context) }
      return request
    }
    let onward = try ChannelUnderTest(innerAddress)
    let channel = InterceptedChannel(onward.channel, [.propagation])
    let (outer, outerAddress) = try await Self.start { request, _ in
      try await channel.unary(Self.method, request, options: innerOptions).message
    }
    let client = try ChannelUnderTest(outerAddress)
    _ = try await client.channel.unary(Self.method, [1], options: options)
    await client.stop()
    await onward.stop()
    await outer.drain(grace: .zero)
    await inner.drain(grace: .zero)
    return try #require(contexts.withLock { $0.first })
  }

  @Test func theDeadlineTheCorrelationIDAndTheTraceAreHandedOn() async throws {
    let context = try await seen(
      CallOptions(
        metadata: ["x-correlation-id": "mine", "traceparent": Self.traceparent],
        timeout: .seconds(1_000)))
    let remaining = try #require(context.deadline?.remaining)
    #expect(remaining <= .seconds(1_000) && remaining > .seconds(900))
    #expect(context.correlationID == "mine")
    let trace = try #require(context.trace)
    #expect(trace.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
    // Each hop is a span of its own.
    #expect(trace.parentID != "00f067aa0ba902b7")
  }

  @Test func aNearerDeadlineAndNamesOfTheCallsOwnWin() async throws {
    let context = try await seen(
      CallOptions(metadata: ["x-correlation-id": "outer"], timeout: .seconds(1_000)),
      inner: CallOptions(metadata: ["x-correlation-id": "inner"], timeout: .seconds(100)))
    let remaining = try #require(context.deadline?.remaining)
    #expect(remaining <= .seconds(100))
    #expect(context.correlationID == "inner")
  }

  @Test func outsideOfACallNothingIsAdded() throws {
    var options = CallOptions()
    try ClientInterceptor.propagation.begin?(Self.method, &options)
    #expect(options.metadata.isEmpty)
    #expect(options.timeout == nil)
  }

  // MARK: Client interceptors

  @Test func clientInterceptorsChangeOptionsRefuseAndHearOfEnds() async throws {
    let (server, address) = try await Self.start { _, context in
      if context.metadata["x-fail"] != nil { throw RPCError(.dataLoss, "Lost.") }
      return Array((context.metadata["x-added"] ?? "").utf8)
    }
    let outcomes = Mutex<[RPCError.Code]>([])
    let under = try ChannelUnderTest(address)
    let channel = InterceptedChannel(
      under.channel,
      [
        ClientInterceptor(
          begin: { _, options in options.metadata.add("x-added", "yes") },
          end: { _, outcome in outcomes.withLock { $0.append(outcome.error?.code ?? .ok) } }),
        ClientInterceptor(begin: { _, options throws(RPCError) in
          if options.metadata["x-refuse"] != nil { throw RPCError(.permissionDenied, "No.") }
        }),
      ])
    let reply = try await channel.unary(Self.method, [], options: CallOptions())
    #expect(reply.message == Array("yes".utf8))
    for name in ["x-fail", "x-refuse"] {
      await #expect(throws: RPCError.self) {
        try await channel.unary(Self.method, [], options: CallOptions(metadata: [name: "1"]))
      }
    }
    let call = channel.startCall(Self.method, options: CallOptions())
    try await call.send([])
    call.finishSending()
    while try await call.receive() != nil {}
    #expect(outcomes.withLock { $0 } == [.ok, .dataLoss, .permissionDenied, .ok])
    await under.stop()
    await server.drain(grace: .zero)
  }
}
