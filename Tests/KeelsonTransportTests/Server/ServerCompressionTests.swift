import KeelsonCore
import Testing

@testable import KeelsonTransport

@Suite struct ServerCompressionTests {
  private static let accepts = [("grpc-accept-encoding", "identity, deflate, gzip")]
  private static let sends = [("grpc-encoding", "gzip")]
  private let large = [UInt8](repeating: 1, count: 10_000)

  private func withServer(
    _ adjust: (inout ServerConfiguration) -> Void = { _ in },
    _ body: (RawClient) async throws -> Void
  ) async throws {
    let server = try await TestServer(adjust)
    let client = try await RawClient(server.address)
    try await body(client)
    await client.close()
    await server.finish()
  }

  /// A message as a client sends it.
  private func compressed(_ message: [UInt8]) throws -> [UInt8] {
    let bytes = try #require(MessageCompression().deflate(message))
    return framed(bytes)
  }

  private func framed(_ bytes: [UInt8]) -> [UInt8] {
    [1] + (0..<4).map { UInt8(truncatingIfNeeded: bytes.count >> (24 - 8 * $0)) } + bytes
  }

  private func outcome(
    _ client: RawClient, _ path: String, headers: [(String, String)], raw: [UInt8]
  ) async -> RawCall.Outcome {
    let call = await client.call(path, headers: headers, finish: false)
    await call.sendRaw(raw, finish: true)
    return await call.result()
  }

  @Test(arguments: ["/test.T/Echo", "/test.T/Chat", "/test.T/Elsewhere"])
  func aCompressedRequestIsInflatedAndAnsweredAlike(_ path: String) async throws {
    try await withServer { client in
      let outcome = await outcome(
        client, path, headers: Self.sends + Self.accepts, raw: try compressed(large))
      #expect(outcome.status == 0)
      #expect(outcome.fields["grpc-encoding"] == "gzip")
      #expect(outcome.fields["grpc-accept-encoding"] == "identity,gzip")
      #expect(outcome.areCompressed == [true])
      let reply = try #require(outcome.messages.first)
      #expect(try MessageCompression().inflate(reply, maximumBytes: 10_000) == large)
    }
  }

  @Test func aClientThatDoesNotAcceptItGetsNoGzip() async throws {
    try await withServer { client in
      let outcome = await outcome(
        client, "/test.T/Echo", headers: Self.sends, raw: try compressed(large))
      #expect(outcome.messages == [large])
      #expect(outcome.areCompressed == [false])
      #expect(outcome.fields["grpc-encoding"] == nil)
    }
  }

  @Test func aPlainRequestIsAnsweredPlainly() async throws {
    try await withServer { client in
      let outcome = await client.call("/test.T/Echo", [large], headers: Self.accepts).result()
      #expect(outcome.areCompressed == [false])
      #expect(outcome.fields["grpc-encoding"] == nil)
      #expect(outcome.fields["grpc-accept-encoding"] == "identity,gzip")
    }
  }

  @Test func aSmallResponseIsNotCompressed() async throws {
    try await withServer { client in
      let small = [UInt8](repeating: 1, count: 1_023)
      let outcome = await outcome(
        client, "/test.T/Echo", headers: Self.sends + Self.accepts, raw: try compressed(small))
      #expect(outcome.messages == [small])
      #expect(outcome.areCompressed == [false])
    }
  }

  @Test func aHandlerMayCompressSingleMessages() async throws {
    try await withServer { client in
      let off = [UInt8](repeating: 0, count: 5_000)
      let outcome = await client.call(
        "/test.T/Press", [large, off, large], headers: Self.accepts
      ).result()
      #expect(outcome.areCompressed == [true, false, true])
      #expect(outcome.messages[1] == off)
    }
  }

  @Test func uncompressedMessagesMayComeAmongCompressedOnes() async throws {
    try await withServer { client in
      let plain: [UInt8] = [0, 0, 0, 0, 2, 8, 9]
      let outcome = await outcome(
        client, "/test.T/Sum", headers: Self.sends,
        raw: try plain + compressed(large) + plain)
      #expect(outcome.messages == [Array("10004".utf8)])
    }
  }

  @Test(arguments: ["/test.T/Echo", "/test.T/Sum"])
  func aBombIsRefusedBeforeItIsInflated(_ path: String) async throws {
    func limit(_ configuration: inout ServerConfiguration) {
      configuration.maximumRequestMessageBytes = 100_000
    }
    try await withServer(limit) { client in
      let bomb = try compressed([UInt8](repeating: 0, count: 50_000_000))
      #expect(bomb.count < 100_000)
      let outcome = await outcome(client, path, headers: Self.sends, raw: bomb)
      #expect(outcome.status == RPCError.Code.resourceExhausted.rawValue)
      #expect(outcome.message?.contains("100000") == true)
      // The next call is not touched by it.
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    }
  }

  @Test(arguments: ["/test.T/Echo", "/test.T/Sum"])
  func whatIsNoGzipFailsTheCall(_ path: String) async throws {
    try await withServer { client in
      let outcome = await outcome(
        client, path, headers: Self.sends, raw: framed([1, 2, 3]))
      #expect(outcome.status == RPCError.Code.internalError.rawValue)
      #expect(await client.call("/test.T/Echo", [[1]]).result().status == 0)
    }
  }

  @Test func anUnknownEncodingIsAnsweredWithTheKnownOnes() async throws {
    try await withServer { client in
      let outcome = await client.call(
        "/test.T/Echo", [[]], headers: [("grpc-encoding", "snappy")]
      ).result()
      #expect(outcome.status == RPCError.Code.unimplemented.rawValue)
      #expect(outcome.fields["grpc-accept-encoding"] == "identity,gzip")
      #expect(outcome.message?.contains("snappy") == true)
    }
  }

  @Test func aFlagWithoutAnEncodingFailsTheCall() async throws {
    try await withServer { client in
      for headers in [[], [("grpc-encoding", "identity")]] {
        let outcome = await outcome(
          client, "/test.T/Echo", headers: headers, raw: try compressed(large))
        #expect(outcome.status == RPCError.Code.internalError.rawValue)
      }
    }
  }
}
