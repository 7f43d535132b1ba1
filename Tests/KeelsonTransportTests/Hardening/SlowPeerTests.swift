import KeelsonCore
import Synchronization
import Testing

@testable import KeelsonTransport

/// Clients that are slow, silent, or gone half-way.
@Suite(.timeLimit(.minutes(5)))
struct SlowPeerTests {
  private typealias Kind = FrameClient.Kind
  private typealias Flag = FrameClient.Flag

  // MARK: Times

  @Test func aSilentConnection() async throws {
    try await AttackedServer.run {
      $0.http2.prefaceTimeout = .milliseconds(100)
    } _: { attacked in
      let client = try FrameClient(attacked.address, settings: nil)
      _ = await client.untilClosed()
      client.close()
    }
  }

  @Test func headersThatNeverEnd() async throws {
    try await AttackedServer.run {
      $0.http2.headersTimeout = .milliseconds(100)
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      // The frame's head and the first bytes of the block; the rest never comes.
      client.send(Array(FrameClient.headers("/test.T/Echo", stream: 1)[..<20]))
      let goAway = await client.first { $0.type == Kind.goAway }
      #expect(goAway?.debugText == "headers_timeout")
      _ = await client.untilClosed()
      client.close()
    }
  }

  @Test func headersWhoseContinuationNeverComes() async throws {
    try await AttackedServer.run {
      $0.http2.headersTimeout = .milliseconds(100)
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      client.send(
        FrameClient.frame(Kind.headers, stream: 1, FrameClient.block("/test.T/Echo")))
      _ = await client.untilClosed()
      client.close()
    }
  }

  @Test func anIdleConnection() async throws {
    try await AttackedServer.run {
      // Long enough for the request of a client that has to wait for its turn.
      $0.http2.idleTimeout = .seconds(5)
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.request("/test.T/Echo", [1], stream: 1))
      let frames = await client.untilClosed()
      #expect(frames.contains { $0.type == Kind.headers && $0.endsStream })
      #expect(frames.last { $0.type == Kind.goAway }?.errorCode == .noError)
      client.close()
    }
  }

  @Test func aClientThatAnswersNoPing() async throws {
    try await AttackedServer.run {
      $0.http2.keepaliveInterval = .milliseconds(100)
      $0.http2.keepaliveTimeout = .milliseconds(300)
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.headers("/test.T/Wait", stream: 1))
      let frames = await client.untilClosed()
      #expect(frames.contains { $0.type == Kind.ping && !$0.isAcknowledgement })
      #expect(await attacked.server.signals.wait(for: "wait ended"))
      client.close()
    }
  }

  /// Keeps its windows shut for ever, while the connection itself is well.
  @Test func aWindowThatStaysShut() async throws {
    try await AttackedServer.run {
      $0.http2.streamStallTimeout = .milliseconds(100)
    } _: { attacked in
      let client = try FrameClient(attacked.address, settings: [(4, 0)])
      client.send(FrameClient.request("/test.T/Echo", [1], stream: 1))
      client.send(FrameClient.request("/test.T/Flood", [1], stream: 3))
      var open: Set<UInt32> = [1, 3]
      while !open.isEmpty {
        let reset = try #require(await client.first { $0.type == Kind.reset })
        #expect(reset.errorCode == .cancel)
        open.remove(reset.stream)
      }
      #expect(await attacked.server.signals.wait(for: "flood ended"))
      client.close()
    }
  }

  // MARK: Pieces

  @Test func aRequestByteByByte() async throws {
    try await AttackedServer.run { attacked in
      let client = try FrameClient(attacked.address, settings: nil)
      let bytes = FrameClient.preface() + FrameClient.request("/test.T/Echo", [1, 2], stream: 1)
      for byte in bytes { client.send([byte]) }
      let answer = await client.first { $0.type == Kind.data }
      #expect(answer?.payload == [0, 0, 0, 0, 2, 1, 2])
      client.close()
    }
  }

  /// More padding than all windows hold: it has to be given back to them.
  @Test func manySmallPaddedFrames() async throws {
    try await AttackedServer.run {
      $0.http2.streamWindowBytes = 65_535
      $0.http2.connectionWindowBytes = 65_535
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.headers("/test.T/Sum", stream: 1))
      let padding = [UInt8](repeating: 0, count: 255)
      var window = 65_535
      var updates = client.frames.makeAsyncIterator()
      for _ in 0..<2_000 {
        for byte in [0, 0, 0, 0, 1, 42] as [UInt8] {
          let payload = [255, byte] + padding
          while window < payload.count {
            let frame = try #require(await updates.next())
            if frame.type == Kind.windowUpdate, frame.stream == 0 {
              window += Int(frame.payload.reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
            }
          }
          window -= payload.count
          client.send(
            FrameClient.frame(Kind.data, flags: Flag.padded, stream: 1, payload))
        }
      }
      client.send(FrameClient.frame(Kind.data, flags: Flag.endStream, stream: 1))
      var answer: [UInt8] = []
      while let frame = await updates.next(), frame.type != Kind.headers || !frame.endsStream {
        if frame.type == Kind.data { answer += frame.payload }
      }
      #expect(Array(answer.dropFirst(5)) == Array("2000".utf8))
      client.close()
    }
  }

  // MARK: Partings

  /// A request and the connection's end that the server finds at the same moment.
  @Test func aConnectionThatBreaksRightAfterItsRequest() async throws {
    let (ended, continuation) = AsyncStream<CallSummary>.makeStream()
    let tells = ServerInterceptor(end: { context, summary in
      if context.method.name == "Wait" { continuation.yield(summary) }
    })
    try await AttackedServer.run(at: "127.0.0.1:0", interceptors: [tells]) { attacked in
      var summaries = ended.makeAsyncIterator()
      for _ in 0..<50 {
        let client = try FrameClient(attacked.address, settings: nil, reads: false)
        client.send(FrameClient.preface() + FrameClient.headers("/test.T/Wait", stream: 1))
        client.abort()
        // The server may find the break ahead of the request: then there is no call.
      }
      // One that was surely seen, so that there is an end to wait for.
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.headers("/test.T/Wait", stream: 1))
      client.send(FrameClient.frame(Kind.ping, [1, 1, 1, 1, 1, 1, 1, 1]))
      #expect(await client.first { $0.type == Kind.ping } != nil)
      client.abort()
      #expect(await summaries.next()?.code == .cancelled)
    }
  }

  @Test func aPeerThatClosesItsHalf() async throws {
    try await AttackedServer.run { attacked in
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.headers("/test.T/Wait", stream: 1))
      client.shutDownWriting()
      _ = await client.untilClosed()
      #expect(await attacked.server.signals.wait(for: "wait ended"))
      client.close()
    }
  }

  /// A reset at each point of a call; then the connection must still serve.
  @Test(arguments: 0..<7) func aResetAtEveryPoint(point: Int) async throws {
    try await AttackedServer.run { attacked in
      let client = try FrameClient(attacked.address)
      let message = FrameClient.message([1], stream: 1)
      switch point {
      case 0: client.send(FrameClient.headers("/test.T/Chat", stream: 1))
      case 1:
        client.send(FrameClient.headers("/test.T/Chat", stream: 1))
        // A message's first half.
        client.send(FrameClient.frame(Kind.data, stream: 1, [0, 0, 0]))
      case 2: client.send(FrameClient.headers("/test.T/Chat", stream: 1) + message)
      case 3:
        client.send(
          FrameClient.headers("/test.T/Chat", stream: 1)
            + FrameClient.message([1], stream: 1, endStream: false))
        #expect(await client.first { $0.type == Kind.data } != nil)
      case 4:
        client.send(FrameClient.request("/test.T/Park", [1], stream: 1))
        #expect(await attacked.server.signals.wait(for: "parked"))
      case 5: client.send(FrameClient.request("/test.T/Nothing", [1], stream: 1))
      default:
        client.send(FrameClient.request("/test.T/Echo", [1], stream: 1))
        #expect(await client.first { $0.type == Kind.headers && $0.endsStream } != nil)
      }
      client.send(FrameClient.reset(1))
      if point < 3 {
        // Trailers and data after the reset were on their way: both are passed over.
        client.send(
          FrameClient.frame(
            Kind.headers, flags: Flag.endHeaders | Flag.endStream, stream: 1,
            [0, 1, 0x78, 1, 0x79]))
      }
      let next = try FrameClient(attacked.address)
      next.send(FrameClient.request("/test.T/Echo", [3], stream: 1))
      #expect(await next.first { $0.type == Kind.data }?.payload.last == 3)
      next.close()
      if point >= 3 {
        client.send(FrameClient.request("/test.T/Echo", [3], stream: 3))
        #expect(
          await client.first { $0.type == Kind.data && $0.stream == 3 }?.payload.last == 3)
      }
      client.close()
    }
  }

  @Test func iPv6() async throws {
    try await AttackedServer.run(at: "[::1]:0") { attacked in
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.request("/test.T/Peer", [], stream: 1))
      let answer = await client.first { $0.type == Kind.data }
      let text = String(decoding: answer?.payload.dropFirst(5) ?? [], as: UTF8.self)
      #expect(text.hasPrefix("ipv6:[::1]:") || text.hasPrefix("ipv6:%5B::1%5D:"))
      client.close()
    }
  }
}
