import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// Calls that are tried again by a service config, against servers that count.
@Suite(.timeLimit(.minutes(5)))
struct HTTP2ChannelRetryTests {
  private static let policy = RetryPolicy(
    maximumAttempts: 3, initialBackoff: .milliseconds(2), maximumBackoff: .milliseconds(5))

  private static func retrying(
    _ names: [MethodConfig.Name], _ policy: RetryPolicy = policy
  ) -> ServiceConfig {
    ServiceConfig(methods: [MethodConfig(names: names, retryPolicy: policy)])
  }

  private static let byName = retrying([.method("Echo", of: EchoService.service)])
  private static let byService = retrying([.service(EchoService.service)])

  private func withServer(
    _ config: ServiceConfig, _ script: @escaping ScriptedServer.Script,
    _ body: (HTTP2Channel, ScriptedServer) async throws -> Void,
    configured change: (inout ChannelConfiguration) -> Void = { _ in }
  ) async throws {
    let server = try await ScriptedServer.start(script)
    let client = try ChannelUnderTest(server.address) {
      $0.serviceConfig = config
      change(&$0)
    }
    do {
      try await body(client.channel, server)
    } catch {
      Issue.record(error)
    }
    await client.stop()
    await server.stop()
  }

  private func echo(
    _ channel: HTTP2Channel, isIdempotent: Bool = false, _ options: CallOptions = CallOptions()
  ) async throws -> UnaryReply {
    let method = EchoService.method("Echo", .unary, isIdempotent: isIdempotent)
    return try await channel.unary(method, [1], options: options)
  }

  private func error(
    _ channel: HTTP2Channel, isIdempotent: Bool = false, _ options: CallOptions = CallOptions()
  ) async -> RPCError? {
    do {
      _ = try await echo(channel, isIdempotent: isIdempotent, options)
      return nil
    } catch {
      return error as? RPCError
    }
  }

  @Test func aMethodThatThePolicyNamesIsTriedAgainAndTheServerIsTold() async throws {
    try await withServer(Self.byName) { stream, number in
      if number < 3 {
        ScriptedServer.refuse(stream, .unavailable)
      } else {
        ScriptedServer.answer(stream, [9])
      }
    } _: { channel, server in
      let reply = try await echo(channel)
      #expect(reply.message == [9])
      #expect(reply.initialMetadata["grpc-previous-rpc-attempts"] == "2")
      #expect(server.values(of: "grpc-previous-rpc-attempts") == [nil, "1", "2"])
    }
  }

  @Test func theLastErrorSaysHowManyAttemptsThereWere() async throws {
    try await withServer(Self.byName) { stream, _ in
      ScriptedServer.refuse(stream, .unavailable)
    } _: { channel, server in
      let error = await error(channel)
      #expect(error?.message == "the test says no (after 3 attempts)")
      #expect(error?.metadata["grpc-previous-rpc-attempts"] == "2")
      #expect(server.heads.withLock { $0.count } == 3)
    }
  }

  /// At most once is kept where the policy covers a method without naming it.
  @Test(arguments: [true, false])
  func aPolicyForAllMethodsHoldsForTheIdempotent(isIdempotent: Bool) async throws {
    try await withServer(Self.byService) { stream, _ in
      ScriptedServer.refuse(stream, .unavailable)
    } _: { channel, server in
      #expect(await error(channel, isIdempotent: isIdempotent)?.code == .unavailable)
      #expect(server.heads.withLock { $0.count } == (isIdempotent ? 3 : 1))
    }
  }

  @Test func aLostConnectionIsTriedAgainForTheIdempotent() async throws {
    try await withServer(Self.byService) { stream, number in
      guard number == 1 else { return ScriptedServer.answer(stream, [9]) }
      let connection = stream.connection
      connection?.loop.execute {
        connection?.close(HTTP2CloseReason(.closedHere, "The test wants it so."))
      }
    } _: { channel, _ in
      let reply = try await echo(channel, isIdempotent: true)
      #expect(reply.message == [9])
    }
  }

  @Test func anotherStatusIsTheCallsEnd() async throws {
    try await withServer(Self.byName) { stream, _ in
      ScriptedServer.refuse(stream, .internalError)
    } _: { channel, server in
      #expect(await error(channel)?.message == "the test says no")
      #expect(server.heads.withLock { $0.count } == 1)
    }
  }

  @Test func onceHeadersHaveComeTheCallIsCommitted() async throws {
    try await withServer(Self.byName) { stream, _ in
      stream.sendHeaders(
        ScriptedServer.fields([(":status", "200"), ("content-type", "application/grpc")]))
      stream.finish(trailers: ScriptedServer.fields([("grpc-status", "14")]))
    } _: { channel, server in
      #expect(await error(channel)?.code == .unavailable)
      #expect(server.heads.withLock { $0.count } == 1)
    }
  }

  @Test func theServersPushbackIsHeeded() async throws {
    try await withServer(
      Self.retrying([.all], RetryPolicy(initialBackoff: .seconds(50), maximumBackoff: .seconds(50)))
    ) { stream, number in
      switch number {
      case 1: ScriptedServer.refuse(stream, .unavailable, [("grpc-retry-pushback-ms", "1")])
      case 2: ScriptedServer.refuse(stream, .unavailable, [("grpc-retry-pushback-ms", "-1")])
      default: ScriptedServer.answer(stream, [9])
      }
    } _: { channel, server in
      #expect(await error(channel, isIdempotent: true)?.code == .unavailable)
      #expect(server.heads.withLock { $0.count } == 2)
    }
  }

  @Test func theBudgetIsTheChannels() async throws {
    var config = Self.byName
    config.retryThrottling = RetryThrottling(maximumTokens: 4, tokenRatio: 0.1)
    try await withServer(config) { stream, _ in
      ScriptedServer.refuse(stream, .unavailable)
    } _: { channel, server in
      for _ in 0..<10 { #expect(await error(channel)?.code == .unavailable) }
      // The first call is tried twice; from then on two of four tokens are left, or fewer.
      #expect(server.heads.withLock { $0.count } == 11)
    }
  }

  @Test func theDeadlineBoundsAllAttemptsTogether() async throws {
    let policy = RetryPolicy(
      maximumAttempts: 5, initialBackoff: .seconds(100), maximumBackoff: .seconds(100))
    try await withServer(Self.retrying([.all], policy)) { stream, _ in
      ScriptedServer.refuse(stream, .unavailable)
    } _: { channel, server in
      let options = CallOptions(timeout: .seconds(50))
      let start = ContinuousClock.now
      #expect(
        await error(channel, isIdempotent: true, options)?.message
          == "the test says no (after 2 attempts)")
      #expect(start.duration(to: .now) < .seconds(50), "there was no time for another attempt")
      #expect(server.heads.withLock { $0.count } == 1)
    }
  }

  @Test func aStreamingCallIsTriedAgainWithWhatItSent() async throws {
    try await withServer(Self.retrying([.method("Count", of: EchoService.service)])) {
      stream, number in
      if number == 1 {
        ScriptedServer.refuse(stream, .unavailable)
      } else {
        ScriptedServer.answer(stream, [9])
      }
    } _: { channel, server in
      let call = channel.startCall(EchoService.count, options: CallOptions())
      try await call.send([1, 2, 3])
      call.finishSending()
      #expect(try await call.receive() == [9])
      #expect(try await call.receive() == nil)
      #expect(try await call.initialMetadata()["grpc-previous-rpc-attempts"] == "1")
      let body: [UInt8] = [0, 0, 0, 0, 3, 1, 2, 3]
      #expect(server.bodies.withLock { $0.suffix(8) } == body[...])
    }
  }

  @Test(arguments: [(1_000, 10), (10, 1_000)])
  func aCallThatHasSentTooMuchIsNotTriedAgain(ofCall: Int, ofChannel: Int) async throws {
    try await withServer(Self.retrying([.method("Chat", of: EchoService.service)])) { stream, _ in
      // When the message is there, so that the client has sent it.
      _ = stream.connection?.loop.schedule(afterMilliseconds: 500) {
        ScriptedServer.refuse(stream, .unavailable)
      }
    } _: { channel, server in
      let call = channel.startCall(EchoService.chat, options: CallOptions())
      try await call.send([UInt8](repeating: 1, count: 20))
      let error = await #expect(throws: RPCError.self) { try await call.receive() }
      #expect(error?.message == "the test says no")
      #expect(server.heads.withLock { $0.count } == 1)
    } configured: {
      $0.replayBytes = ofCall
      $0.channelReplayBytes = ofChannel
    }
  }

  @Test func requestsOverTheLimitAreNotSent() async throws {
    try await withServer(ServiceConfig()) { stream, _ in
      ScriptedServer.answer(stream, [9])
    } _: { channel, server in
      let error = await #expect(throws: RPCError.self) {
        try await channel.unary(
          EchoService.echo, [UInt8](repeating: 1, count: 11), options: CallOptions())
      }
      #expect(error?.code == .resourceExhausted)
      #expect(error?.message.contains("11 bytes is over the limit of 10") == true)
      let call = channel.startCall(EchoService.chat, options: CallOptions())
      try await call.send([UInt8](repeating: 1, count: 11))
      let late = await #expect(throws: RPCError.self) { try await call.receive() }
      #expect(late?.code == .resourceExhausted)
      #expect(server.bodies.withLock { $0.isEmpty })
    } configured: {
      $0.maximumRequestBytes = 10
    }
  }

  @Test func aMethodsTimeoutBoundsItsCalls() async throws {
    let config = ServiceConfig(methods: [
      MethodConfig(names: [.service(EchoService.service)], timeout: .milliseconds(20))
    ])
    try await withServer(config) { _, _ in
    } _: { channel, _ in
      #expect(await error(channel)?.code == .deadlineExceeded)
      #expect(await error(channel, CallOptions(timeout: .seconds(50)))?.code == .deadlineExceeded)
    }
  }
}
