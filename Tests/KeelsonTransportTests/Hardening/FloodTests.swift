import KeelsonCore
import Testing

@testable import KeelsonTransport

/// Clients that send what costs them little and the server much.
@Suite(.timeLimit(.minutes(5)))
struct FloodTests {
  private typealias Kind = FrameClient.Kind
  private typealias Flag = FrameClient.Flag

  /// The server ends the connection with a GOAWAY of this code, if it says one.
  private func expectCutOff(
    _ client: FrameClient, _ allowed: [HTTP2ErrorCode] = [.enhanceYourCalm],
    sourceLocation: SourceLocation = #_sourceLocation
  ) async {
    let frames = await client.untilClosed()
    client.close()
    for goAway in frames where goAway.type == Kind.goAway {
      #expect(allowed.contains(goAway.errorCode), sourceLocation: sourceLocation)
    }
  }

  /// Sends a piece again and again until the server has had enough; false if it never has.
  private func flood(_ client: FrameClient, _ piece: [UInt8], times: Int = 20_000) -> Bool {
    for _ in 0..<times where !client.send(piece) { return true }
    return false
  }

  @Test func continuationFrames() async throws {
    try await AttackedServer.run { attacked in
      let client = try FrameClient(attacked.address)
      client.send(
        FrameClient.frame(Kind.headers, stream: 1, FrameClient.block("/test.T/Echo")))
      for _ in 0..<20 {
        client.send(FrameClient.frame(Kind.continuation, stream: 1, [0, 1, 0x78, 1, 0x79]))
      }
      await expectCutOff(client, [.enhanceYourCalm, .internalError, .protocolError])
    }
  }

  @Test(arguments: [
    FrameClient.frame(Kind.settings),
    FrameClient.frame(Kind.settings, [0, 4, 0, 1, 0, 0]),
    FrameClient.frame(Kind.ping, [0, 0, 0, 0, 0, 0, 0, 1]),
  ])
  func framesThatCarryNothing(frame: [UInt8]) async throws {
    try await AttackedServer.run {
      $0.http2.idleFrameBurst = 50
      $0.http2.idleFramesPerSecond = 1
      $0.http2.minimumPingInterval = .zero
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      for _ in 0..<200 { client.send(frame) }
      await expectCutOff(client)
    }
  }

  @Test(arguments: [
    FrameClient.frame(Kind.data, stream: 1),
    FrameClient.frame(Kind.data, flags: Flag.padded, stream: 1, [0]),
    FrameClient.frame(Kind.data, flags: Flag.padded, stream: 1, [3, 0, 0, 0]),
  ])
  func dataFramesWithoutData(frame: [UInt8]) async throws {
    try await AttackedServer.run {
      $0.http2.idleFrameBurst = 50
      $0.http2.idleFramesPerSecond = 1
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      client.send(FrameClient.headers("/test.T/Chat", stream: 1))
      for _ in 0..<200 { client.send(frame) }
      await expectCutOff(client)
    }
  }

  @Test func pingStrikes() async throws {
    try await AttackedServer.run {
      $0.http2.minimumPingInterval = .seconds(3_600)
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      let ping = FrameClient.frame(Kind.ping, [1, 2, 3, 4, 5, 6, 7, 8])
      // Two strikes, and what the answer to a call forgives, for many times what is allowed.
      for number in 0..<10 {
        for _ in 0..<3 { client.send(ping) }
        client.send(FrameClient.request("/test.T/Echo", [1], stream: UInt32(2 * number + 1)))
        let end = await client.first { $0.type == Kind.headers && $0.endsStream }
        #expect(end != nil, "round \(number)")
      }
      for _ in 0..<4 { client.send(ping) }
      let goAway = await client.first { $0.type == Kind.goAway }
      #expect(goAway?.errorCode == .enhanceYourCalm)
      #expect(goAway?.debugText == "too_many_pings")
      _ = await client.untilClosed()
      client.close()
    }
  }

  @Test func rapidReset() async throws {
    try await AttackedServer.run {
      $0.http2.streamResetBurst = 20
      $0.http2.streamResetsPerSecond = 1
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      for number in 0..<200 {
        let stream = UInt32(2 * number + 1)
        client.send(FrameClient.headers("/test.T/Wait", stream: stream))
        client.send(FrameClient.reset(stream))
      }
      await expectCutOff(client, [.internalError, .enhanceYourCalm])
    }
  }

  /// Resets that the server is made to send cost as much as those that it gets.
  @Test(arguments: ["overlong body", "window overflow", "malformed request"])
  func madeYouReset(way: String) async throws {
    try await AttackedServer.run {
      $0.http2.idleFrameBurst = 20
      $0.http2.idleFramesPerSecond = 1
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      // In one piece, so that the server has read all of it before it sends its first reset, and
      // nothing comes after the last.
      let pieces = (0..<200).flatMap { number in
        let stream = UInt32(2 * number + 1)
        return switch way {
        case "overlong body":
          FrameClient.headers("/test.T/Wait", stream: stream, [("content-length", "1")])
            + FrameClient.message([1, 2, 3], stream: stream)
        case "window overflow":
          FrameClient.headers("/test.T/Wait", stream: stream)
            + FrameClient.frame(
              Kind.windowUpdate, stream: stream, FrameClient.number(0x7FFF_FFFF))
        default:
          FrameClient.headers("/test.T/Wait", stream: stream, [("Upper", "x")])
        }
      }
      client.send(pieces)
      await expectCutOff(client)
    }
  }

  /// Asks for more and more without reading any answer.
  @Test func aPeerThatNeverReads() async throws {
    try await AttackedServer.run {
      $0.http2.writeTimeout = .milliseconds(200)
      $0.http2.maximumQueuedControlFrames = 100
      $0.http2.minimumPingInterval = .zero
      $0.http2.idleFrameBurst = 1_000_000
    } _: { attacked in
      let client = try FrameClient(attacked.address, reads: false)
      let piece = (0..<1_000).flatMap { _ in
        FrameClient.frame(Kind.ping, [0, 0, 0, 0, 0, 0, 0, 1])
      }
      #expect(flood(client, piece), "the server went on taking pings")
      client.close()
    }
  }

  @Test func moreConnectionsThanAllowed() async throws {
    // The good client has one of the two.
    try await AttackedServer.run {
      $0.maximumConnections = 2
    } _: { attacked in
      let first = try FrameClient(attacked.address)
      #expect(await first.first { $0.type == Kind.settings } != nil)
      let second = try FrameClient(attacked.address)
      #expect(await second.untilClosed().isEmpty)
      second.close()
      first.close()
      // The server finds out by itself; until then it refuses.
      var third = try FrameClient(attacked.address)
      while await third.first(where: { $0.type == Kind.settings }) == nil {
        third.close()
        third = try FrameClient(attacked.address)
      }
      third.close()
    }
  }

  /// Calls that are refused before their handler begins take up no room among the running ones.
  @Test func callsThatEndBeforeTheyBegin() async throws {
    try await AttackedServer.run {
      $0.maximumRunningCalls = 5
    } _: { attacked in
      let client = try FrameClient(attacked.address)
      for number in 0..<50 {
        let stream = UInt32(2 * number + 1)
        client.send(
          FrameClient.headers("/test.T/Wait", stream: stream, [("grpc-timeout", "0S")]))
        let end = await client.first { $0.stream == stream && $0.type == Kind.reset }
        #expect(end != nil)
      }
      client.close()
    }
  }

  @Test func hugeMetadata() async throws {
    try await AttackedServer.run { attacked in
      let client = try FrameClient(attacked.address)
      let block = FrameClient.block(
        "/test.T/Echo", [("x-huge", String(repeating: "x", count: 40_000))])
      client.send(FrameClient.frame(Kind.headers, stream: 1, Array(block[..<16_000])))
      client.send(
        FrameClient.frame(Kind.continuation, stream: 1, Array(block[16_000..<32_000])))
      client.send(
        FrameClient.frame(
          Kind.continuation, flags: Flag.endHeaders, stream: 1, Array(block[32_000...])))
      let refusal = await client.first { $0.type == Kind.headers }
      #expect(refusal?.stream == 1)
      #expect(refusal?.endsStream == true)
      // The connection goes on.
      client.send(FrameClient.request("/test.T/Echo", [9], stream: 3))
      let answer = await client.first { $0.type == Kind.data && $0.stream == 3 }
      #expect(answer?.payload.last == 9)
      client.close()
    }
  }
}
