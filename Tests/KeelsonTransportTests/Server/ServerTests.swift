import KeelsonCore
import Testing

@testable import KeelsonTransport

@Suite(.timeLimit(.minutes(5)))
struct ServerTests {
  /// Runs a test's body against a server of its own.
  private func withServer(
    _ keyPath: WritableKeyPath<ServerConfiguration, Int>? = nil, _ value: Int = 0,
    _ body: (TestServer, RawClient) async throws -> Void
  ) async throws {
    let server = try await TestServer { if let keyPath { $0[keyPath: keyPath] = value } }
    let client = try await RawClient(server.address)
    try await body(server, client)
    await client.close()
    await server.finish()
  }

  // MARK: The four kinds

  @Test func aUnaryCall() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Echo", [[1, 2, 3]]).result()
      #expect(result.httpStatus == "200")
      #expect(result.fields["content-type"] == "application/grpc")
      #expect(result.messages == [[1, 2, 3]])
      #expect(result.status == 0)
      #expect(result.closeCode == .noError)
    }
  }

  @Test(arguments: [0, 1, 70_000, 1_000_000]) func messagesOfAnySize(bytes: Int) async throws {
    try await withServer { _, client in
      let message = (0..<bytes).map { UInt8(truncatingIfNeeded: $0) }
      let result = await client.call("/test.T/Echo", [message]).result()
      #expect(result.messages == [message])
      #expect(result.status == 0)
    }
  }

  @Test func aServerStreamingCall() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Count", [[5]]).result()
      #expect(result.messages == [[0], [1], [2], [3], [4]])
      #expect(result.status == 0)
    }
  }

  @Test func aServerStreamingCallWithoutMessages() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Count", [[0]]).result()
      #expect(result.messages.isEmpty)
      #expect(result.status == 0)
    }
  }

  @Test func aClientStreamingCall() async throws {
    try await withServer { _, client in
      let messages = (0..<100).map { [UInt8](repeating: 0, count: $0) }
      let result = await client.call("/test.T/Sum", messages).result()
      #expect(result.messages == [Array("4950".utf8)])
      #expect(result.status == 0)
    }
  }

  @Test(arguments: ["/test.T/Chat", "/test.T/Elsewhere"])
  func aBidirectionalCall(path: String) async throws {
    try await withServer { _, client in
      let call = await client.call(path, finish: false)
      for number in UInt8(0)..<20 {
        await call.send([[number]])
        #expect(await call.firstMessage() == [number])
      }
      await call.send([], finish: true)
      let result = await call.result()
      #expect(result.messages.count == 20)
      #expect(result.status == 0)
    }
  }

  @Test func manyCallsAtOnce() async throws {
    try await withServer { _, client in
      await withTaskGroup(of: Bool.self) { group in
        for number in 0..<500 {
          group.addTask {
            let message = [UInt8](repeating: UInt8(number % 256), count: number)
            let result = await client.call("/test.T/Echo", [message]).result()
            return result.messages == [message] && result.status == 0
          }
        }
        for await isRight in group { #expect(isRight) }
      }
    }
  }

  // MARK: Metadata and statuses

  @Test func metadataGoesBothWays() async throws {
    try await withServer { _, client in
      let result = await client.call(
        "/test.T/Echo", [[]],
        headers: [("echo-a", "one"), ("echo-b-bin", "AQID"), ("x-correlation-id", "my-id")]
      ).result()
      #expect(result.fields["echo-a"] == "one")
      #expect(result.fields["t-echo-a"] == "one")
      #expect(result.fields["echo-b-bin"] == "AQID")
      #expect(result.fields["x-correlation-id"] == "my-id")
    }
  }

  @Test func aCorrelationIDIsMadeWhenNoneOrABadOneCame() async throws {
    try await withServer { _, client in
      let tooLong = String(repeating: "a", count: 129)
      for headers in [[], [("x-correlation-id", tooLong)]] {
        let result = await client.call("/test.T/Peer", [[]], headers: headers).result()
        let id = try #require(result.fields["x-correlation-id"])
        #expect(id.count == 36)
        let text = String(decoding: result.messages[0], as: UTF8.self)
        #expect(text.hasPrefix("ipv4:127.0.0.1:"))
        #expect(text.hasSuffix(id))
      }
    }
  }

  @Test func anErrorIsTrailersOnlyWithItsDetails() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Fail", [[]]).result()
      #expect(result.status == 5)
      #expect(result.message == "No füße here")
      #expect(result.fields["grpc-message"] == "No f%C3%BC%C3%9Fe here")
      #expect(result.fields["grpc-status-details-bin"] == "AQID")
      #expect(result.fields["why"] == "because")
      #expect(result.messages.isEmpty)
    }
  }

  @Test func anUnknownErrorTellsNothingOfItself() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Odd", [[]]).result()
      #expect(result.status == 2)
      #expect(result.message?.contains("Odd") == false)
    }
  }

  @Test func anUnknownMethodIsUnimplemented() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Nothing", [[]]).result()
      #expect(result.status == 12)
      #expect(result.message?.contains("/test.T/Nothing") == true)
    }
  }

  @Test func otherContentTypesGet415() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Echo", [[]], contentType: "application/json").result()
      #expect(result.httpStatus == "415")
    }
  }

  // MARK: Bad requests

  @Test(
    arguments: [
      // Compressed flag without an encoding; flags without a meaning; a message cut off; no message;
      // two messages.
      ([1, 0, 0, 0, 1, 9], 13), ([7, 0, 0, 0, 1, 9], 13), ([0, 0, 0, 0, 9, 1], 13), ([0, 0], 13),
      ([], 13), ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 13),
      // A length over the limit, none of whose bytes have come.
      ([0, 0x7F, 0xFF, 0xFF, 0xFF], 8),
    ] as [([UInt8], Int)])
  func aMalformedBodyFailsTheCallOnly(body: [UInt8], status: Int) async throws {
    try await withServer { _, client in
      let call = await client.call("/test.T/Echo", finish: false)
      await call.sendRaw(body, finish: true)
      #expect(await call.result().status == status)
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    }
  }

  @Test func aMessageOverTheLimitIsRefusedAtItsPrefix() async throws {
    try await withServer(\.maximumRequestMessageBytes, 1_000) { _, client in
      #expect(
        await client.call("/test.T/Echo", [[UInt8](repeating: 0, count: 1_000)]).result().status
          == 0)
      let call = await client.call("/test.T/Echo", finish: false)
      await call.sendRaw([0, 0, 0, 0x03, 0xE9])
      let result = await call.result()
      #expect(result.status == 8)
      #expect(result.message?.contains("1000") == true)
    }
  }

  @Test func headersOverTheLimitAreRefused() async throws {
    try await withServer { _, client in
      let result = await client.call(
        "/test.T/Echo", [[]], headers: [("x-long", String(repeating: "a", count: 17_000))]
      ).result()
      #expect(result.httpStatus == "431")
      #expect(result.status == 8)
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    }
  }

  @Test func moreStreamsThanAllowedWait() async throws {
    try await withServer(\.http2.maximumConcurrentStreams, 3) { server, client in
      var calls: [RawCall] = []
      for _ in 0..<3 {
        calls.append(await client.call("/test.T/Wait", finish: false))
        #expect(await server.signals.wait(for: "waiting"))
      }
      #expect(await client.loop.call { client.connection?.availableStreams } == 0)
      let fourth = await client.call("/test.T/Echo", [[1]])
      await calls[0].reset()
      #expect(await fourth.result().status == 0)
    }
  }

  @Test func moreRunningCallsThanAllowedAreRefused() async throws {
    try await withServer(\.maximumRunningCalls, 1) { server, client in
      let parked = await client.call("/test.T/Park", [[]])
      #expect(await server.signals.wait(for: "parked"))
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 8)
      server.signals.gate.signal()
      #expect(await parked.result().status == 0)
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    }
  }

  // MARK: Ends

  @Test func aCancelledCallStopsItsHandler() async throws {
    try await withServer { server, client in
      let call = await client.call("/test.T/Park", [[]])
      #expect(await server.signals.wait(for: "parked"))
      await call.reset()
      #expect(await server.signals.wait(for: "cancelled"))
    }
  }

  @Test func aHandlerThatWaitsForAMessageHearsOfTheCancellation() async throws {
    try await withServer { server, client in
      let call = await client.call("/test.T/Wait", finish: false)
      #expect(await server.signals.wait(for: "waiting"))
      await call.reset()
      #expect(await server.signals.wait(for: "wait ended"))
    }
  }

  @Test func aPeerThatVanishesStopsItsHandlers() async throws {
    let server = try await TestServer()
    let client = try await RawClient(server.address)
    _ = await client.call("/test.T/Wait", finish: false)
    #expect(await server.signals.wait(for: "waiting"))
    await client.close()
    #expect(await server.signals.wait(for: "wait ended"))
    await server.finish()
  }

  @Test func aDeadlineEndsTheCallAndStopsItsHandler() async throws {
    try await withServer { server, client in
      let call = await client.call("/test.T/Park", [[]], headers: [("grpc-timeout", "20m")])
      let result = await call.result()
      #expect(result.status == nil)
      #expect(result.closeCode == .cancel)
      #expect(await server.signals.wait(for: "cancelled"))
    }
  }

  @Test func aDeadlineEndsACallWhoseRequestNeverCame() async throws {
    try await withServer { _, client in
      let call = await client.call(
        "/test.T/Echo", headers: [("grpc-timeout", "20m")], finish: false)
      let result = await call.result()
      #expect(result.status == nil)
      #expect(result.closeCode == .cancel)
    }
  }

  @Test func aMalformedTimeoutIsRefused() async throws {
    try await withServer { _, client in
      let result = await client.call("/test.T/Echo", [[]], headers: [("grpc-timeout", "soon")])
        .result()
      #expect(result.status == 13)
    }
  }

  // MARK: Backpressure

  @Test func aHandlerWaitsForASlowReader() async throws {
    try await withServer { server, client in
      let call = await client.call("/test.T/Flood", [[]], consumes: false)
      // The client's window (256 KiB) fills, and the queue to between its low and its high
      // watermark (16 and 64 KiB): 27 to 33 messages of 10,005 bytes; then the handler waits.
      #expect(await server.signals.wait(for: "written 26"))
      var isOver = false
      for _ in 0..<50 {
        // Each answered call is a round trip in which the flood could have gone on.
        #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
      }
      server.signals.say("checkpoint")
      for await event in server.signals.events {
        if event == "checkpoint" { break }
        if event == "written 40" { isOver = true }
      }
      #expect(!isOver)
      await call.reset()
      #expect(await server.signals.wait(for: "flood ended"))
    }
  }

  @Test func aCallerWaitsForASlowHandler() async throws {
    try await withServer { server, client in
      let body = [UInt8](repeating: 0, count: 10_000)
      let call = await client.call(
        "/test.T/Deaf", [[UInt8]](repeating: body, count: 100), finish: false)
      #expect(await server.signals.wait(for: "parked"))
      for _ in 0..<50 {
        #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
      }
      // What exceeds the server's window stays with the caller.
      let queued = await client.loop.call { call.stream?.queuedBytes }
      #expect(queued == 100 * 10_005 - HTTP2Limits.server.streamWindowBytes)
      server.signals.gate.signal()
      #expect(await call.result().status == 0)
    }
  }

  // MARK: Drain

  @Test func aDrainLetsRunningCallsFinish() async throws {
    let server = try await TestServer()
    let client = try await RawClient(server.address)
    let call = await client.call("/test.T/Park", [[7]])
    #expect(await server.signals.wait(for: "parked"))
    async let drained: Void = server.server.drain(grace: .seconds(30))
    for await code in client.goAways {
      #expect(code == .noError)
      break
    }
    server.signals.gate.signal()
    let result = await call.result()
    #expect(result.status == 0)
    #expect(result.messages == [[7]])
    await drained
    await #expect(throws: SocketError.self) { _ = try await RawClient(server.address) }
    await client.close()
  }

  @Test func aDrainCancelsWhatTakesTooLong() async throws {
    let server = try await TestServer()
    let client = try await RawClient(server.address)
    let call = await client.call("/test.T/Wait", finish: false)
    #expect(await server.signals.wait(for: "waiting"))
    await server.server.drain(grace: .milliseconds(20))
    #expect(await call.result().status == 14)
    await client.close()
  }

  // MARK: Interceptors

  @Test func interceptorsMayRefuseACallAndHearOfItsEnd() async throws {
    let summaries = AsyncStream<CallSummary>.makeStream()
    let guards = ServerInterceptor(
      begin: { context throws(RPCError) in
        if context.metadata["deny"] != nil { throw RPCError(.permissionDenied, "No.") }
      })
    let tells = ServerInterceptor(end: { summaries.continuation.yield($1) })
    let server = try await TestServer(interceptors: [tells, guards])
    let client = try await RawClient(server.address)
    #expect(await client.call("/test.T/Echo", [[1, 2]]).result().status == 0)
    #expect(
      await client.call("/test.T/Echo", [[1]], headers: [("deny", "1")]).result().status == 7)
    #expect(await client.call("/test.T/Odd", [[1]]).result().status == 2)
    var all = summaries.stream.makeAsyncIterator()
    let good = try #require(await all.next())
    #expect(good.code == .ok)
    #expect(good.receivedBytes == 2)
    #expect(good.sentBytes == 2)
    #expect(good.message.isEmpty)
    let denied = try #require(await all.next())
    #expect(denied.code == .permissionDenied)
    #expect(denied.message == "No.")
    #expect(denied.cause == nil)
    let odd = try #require(await all.next())
    #expect(odd.code == .unknown)
    #expect(odd.cause == "Odd()")
    await client.close()
    await server.finish()
  }
}
