import Testing

@testable import KeelsonTransport

@Suite(.timeLimit(.minutes(5)))
struct HTTP2ConnectionTests {
  /// Answers each request with what it sent, and status 0.
  static let echo: @Sendable (HTTP2Stream, PeerEvent) -> Void = { stream, event in
    switch event {
    case .request: stream.sendHeaders(.okResponse)
    case .data(let bytes): stream.send(OutgoingMessage(unframed: bytes))
    case .end: stream.finish(trailers: .trailers("0"))
    default: break
    }
  }

  @Test func anExchangeReachesBothSidesInOrder() async throws {
    let pair = try await ConnectionPair(script: Self.echo)
    let stream = try #require(await pair.open(path: "/echo"))
    await pair.onLoop {
      stream.send(OutgoingMessage(unframed: [1, 2, 3]))
      stream.finish()
    }
    #expect(await pair.client.wait(for: .headers(status: "200")))
    #expect(await pair.client.wait(for: .data([1, 2, 3])))
    #expect(await pair.client.wait(for: .trailers(status: "0")))
    #expect(await pair.client.wait(for: .end))
    #expect(await pair.client.wait(for: .streamClosed(.noError)))
    #expect(await pair.server.wait(for: .streamClosed(.noError)))
    await pair.finish()
  }

  @Test func aLongBodyWaitsForTheReader() async throws {
    let pair = try await ConnectionPair(script: { stream, event in
      if case .request = event { stream.sendHeaders(.okResponse) }
    })
    await pair.onLoop { pair.server.consumesAtOnce = false }
    let stream = try #require(await pair.open(path: "/"))
    let body = [UInt8](repeating: 7, count: 3_000_000)
    await pair.onLoop {
      stream.send(OutgoingMessage(unframed: body))
      stream.finish()
    }
    #expect(await pair.onLoop { !stream.isWritable })
    var received = 0
    let window = HTTP2Limits.server.streamWindowBytes
    let serverStream = try await {
      _ = await pair.server.wait { if case .request = $0 { true } else { false } }
      return try #require(await pair.onLoop { pair.server.connection?.streams.first })
    }()
    // The window fills and no further; then each byte consumed lets another come.
    while received < window {
      guard
        case .data(let bytes)? = await pair.server.wait({
          if case .data = $0 { true } else { false }
        })
      else { break }
      received += bytes.count
    }
    #expect(received == window)
    #expect(await pair.onLoop { stream.queuedBytes } == body.count - window)
    await pair.onLoop {
      pair.server.consumesAtOnce = true
      serverStream.consume(window)
    }
    while received < body.count {
      guard
        case .data(let bytes)? = await pair.server.wait({
          if case .data = $0 { true } else { false }
        })
      else { break }
      received += bytes.count
    }
    #expect(received == body.count)
    #expect(await pair.server.wait(for: .end))
    #expect(await pair.client.wait(for: .writable))
    await pair.finish()
  }

  @Test func aPingIsAnswered() async throws {
    let pair = try await ConnectionPair()
    await pair.onLoop {
      pair.client.connection?.ping { _ in pair.client.report(.pong) }
    }
    #expect(await pair.client.wait(for: .pong))
    await pair.finish()
  }

  @Test func aResetReachesTheOtherSide() async throws {
    let pair = try await ConnectionPair()
    let stream = try #require(await pair.open(path: "/"))
    #expect(await pair.server.wait(for: .request(path: "/", isTooLarge: false)))
    await pair.onLoop { stream.reset(.cancel) }
    #expect(await pair.server.wait(for: .streamClosed(.cancel)))
    #expect(await pair.client.wait(for: .streamClosed(.cancel)))
    await pair.finish()
  }

  @Test func aShutdownServesOpenStreamsToTheirEnd() async throws {
    let pair = try await ConnectionPair(script: Self.echo)
    let stream = try #require(await pair.open(path: "/"))
    #expect(await pair.server.wait(for: .request(path: "/", isTooLarge: false)))
    await pair.onLoop { pair.server.connection?.shutDown() }
    #expect(await pair.client.wait(for: .goAway(.noError, text: "")))
    #expect(await pair.open(path: "/late") == nil)
    await pair.onLoop { stream.finish() }
    #expect(await pair.client.wait(for: .trailers(status: "0")))
    #expect(await pair.client.wait(for: .streamClosed(.noError)))
    #expect(await pair.client.wait(for: .closed(.closedByPeer)))
    #expect(await pair.server.wait(for: .closed(.closedHere)))
    await pair.finish()
  }

  @Test func anEarlyResponseEndsTheStreamWithNoError() async throws {
    let pair = try await ConnectionPair(script: { stream, event in
      if case .request = event {
        stream.sendHeaders(.okResponse)
        stream.finish(trailers: .trailers("5"))
      }
    })
    _ = try #require(await pair.open(path: "/"))
    #expect(await pair.client.wait(for: .trailers(status: "5")))
    #expect(await pair.client.wait(for: .streamClosed(.noError)))
    await pair.finish()
  }

  @Test func aHeaderListOverTheLimitIsFlagged() async throws {
    var limits = HTTP2Limits.server
    limits.maximumHeaderListBytes = 1_000
    let pair = try await ConnectionPair(serverLimits: limits)
    let client = pair.client
    await pair.onLoop {
      var fields = HTTP2Fields.request("/")
      for number in 0..<20 { fields.append("x-\(number)", String(repeating: "a", count: 100)) }
      _ = client.connection?.openStream(fields, handler: client)
    }
    #expect(await pair.server.wait(for: .request(path: "/", isTooLarge: true)))
    await pair.finish()
  }

  @Test func tooManyPingsEndTheConnection() async throws {
    let pair = try await ConnectionPair()
    await pair.onLoop {
      for _ in 0..<4 { pair.client.connection?.ping { _ in } }
    }
    #expect(await pair.client.wait(for: .goAway(.enhanceYourCalm, text: "too_many_pings")))
    #expect(await pair.server.wait(for: .closed(.peerMisbehaved)))
    await pair.finish()
  }

  @Test func streamsOfALostConnectionAreClosed() async throws {
    let pair = try await ConnectionPair()
    _ = try #require(await pair.open(path: "/"))
    #expect(await pair.server.wait(for: .request(path: "/", isTooLarge: false)))
    await pair.onLoop {
      pair.client.connection?.close(HTTP2CloseReason(.closedHere, "Gone."))
    }
    #expect(await pair.client.wait(for: .streamClosed(.cancel)))
    #expect(await pair.server.wait { if case .streamClosed = $0 { true } else { false } } != nil)
    #expect(await pair.server.wait(for: .closed(.closedByPeer)))
    await pair.finish()
  }
}
