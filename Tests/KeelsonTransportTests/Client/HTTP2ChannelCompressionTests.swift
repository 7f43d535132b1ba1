import KeelsonCore
import KeelsonTestKit
import Synchronization
import Testing

@testable import KeelsonTransport

/// Compression on the client's side, against a server that does as the test says.
@Suite(.timeLimit(.minutes(5)))
struct HTTP2ChannelCompressionTests {
  private static let long = [UInt8](repeating: 7, count: 5_000)

  private func withServer(
    _ script: @escaping ScriptedServer.Script,
    _ body: (HTTP2Channel, ScriptedServer) async throws -> Void,
    configured change: (inout ChannelConfiguration) -> Void = { _ in }
  ) async throws {
    let server = try await ScriptedServer.start(script)
    let client = try ChannelUnderTest(server.address, change)
    do {
      try await body(client.channel, server)
    } catch {
      Issue.record(error)
    }
    await client.stop()
    await server.stop()
  }

  private static func answer(_ stream: HTTP2Stream, _ message: OutgoingMessage, encoding: String?) {
    stream.sendHeaders(
      ScriptedServer.fields(
        [(":status", "200"), ("content-type", "application/grpc")]
          + (encoding.map { [("grpc-encoding", $0)] } ?? [])))
    stream.send(message)
    stream.finish(trailers: ScriptedServer.fields([("grpc-status", "0")]))
  }

  private static func gzipped(_ message: [UInt8]) -> OutgoingMessage {
    OutgoingMessage(MessageCompression().deflate(message) ?? [], isCompressed: true)
  }

  private func code(of channel: HTTP2Channel) async -> RPCError.Code? {
    do {
      _ = try await channel.unary(EchoService.echo, [1], options: CallOptions())
      return nil
    } catch {
      return (error as? RPCError)?.code
    }
  }

  @Test func compressedResponsesAreRead() async throws {
    try await withServer { stream, _ in
      Self.answer(stream, Self.gzipped(Self.long), encoding: "gzip")
    } _: { channel, server in
      let reply = try await channel.unary(EchoService.echo, [1], options: CallOptions())
      #expect(reply.message == Self.long)
      #expect(server.values(of: "grpc-accept-encoding") == ["identity,gzip"])
      #expect(server.values(of: "grpc-encoding") == [nil])
    }
  }

  @Test func aBombIsGivenUpBeforeItIsWhole() async throws {
    let bomb = Self.gzipped([UInt8](repeating: 0, count: 50_000_000))
    #expect(bomb.remainingBytes < 100_000)
    try await withServer { stream, _ in
      Self.answer(stream, bomb, encoding: "gzip")
    } _: { channel, _ in
      #expect(await code(of: channel) == .resourceExhausted)
    }
  }

  @Test(arguments: ["snappy", nil])
  func encodingsThatCannotBeReadAreInternalErrors(encoding: String?) async throws {
    try await withServer { stream, _ in
      Self.answer(stream, Self.gzipped(Self.long), encoding: encoding)
    } _: { channel, _ in
      #expect(await code(of: channel) == .internalError)
    }
  }

  @Test func requestsAreCompressedWhereItPays() async throws {
    try await withServer { stream, _ in
      ScriptedServer.answer(stream, [9])
    } _: { channel, server in
      _ = try await channel.unary(EchoService.echo, Self.long, options: CallOptions())
      let compressed = server.bodies.withLock { body in
        defer { body = [] }
        return body
      }
      #expect(compressed.first == 1 && compressed.count < 200)
      let inflated = try MessageCompression().inflate(
        Array(compressed.dropFirst(5)), maximumBytes: 10_000)
      #expect(inflated == Self.long)
      _ = try await channel.unary(EchoService.echo, [1, 2], options: CallOptions())
      #expect(
        server.bodies.withLock { $0 } == [0, 0, 0, 0, 2, 1, 2], "short ones stay as they are")
      server.bodies.withLock { $0 = [] }
      _ = try await channel.unary(
        EchoService.echo, Self.long, options: CallOptions(compressesRequests: false))
      #expect(server.bodies.withLock { $0.count } == 5_005)
      #expect(server.values(of: "grpc-encoding") == ["gzip", "gzip", nil])
    } configured: {
      $0.compressesRequests = true
    }
  }

  @Test func aMessageOfAStreamMayBeLeftOut() async throws {
    try await withServer { stream, _ in
      ScriptedServer.answer(stream, [9])
    } _: { channel, server in
      let call = channel.startCall(
        EchoService.count, options: CallOptions(compressesRequests: true))
      try await call.send(Self.long, compress: false)
      call.finishSending()
      #expect(try await call.receive() == [9])
      while server.bodies.withLock({ $0.count }) < 5_005 { await Task.yield() }
      #expect(server.bodies.withLock { $0.first } == 0)
      #expect(server.values(of: "grpc-encoding") == ["gzip"])
    }
  }
}
