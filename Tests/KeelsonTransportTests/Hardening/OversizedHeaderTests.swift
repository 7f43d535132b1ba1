import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

/// Header blocks that are too large to be sent: every call still ends.
@Suite(.timeLimit(.minutes(5)))
struct OversizedHeaderTests {
  private static let oversized = MethodDescriptor(
    service: "test.T", name: "Oversized", kind: .unary)

  private func call(_ what: String) async throws -> Result<UnaryReply, RPCError> {
    let server = try await TestServer()
    let client = try ChannelUnderTest(server.address.description)
    let result: Result<UnaryReply, RPCError>
    do {
      result = .success(
        try await client.channel.unary(
          Self.oversized, Array(what.utf8), options: CallOptions(timeout: .seconds(20))))
    } catch let error as RPCError {
      result = .failure(error)
    }
    await client.stop()
    await server.finish()
    return result
  }

  @Test(arguments: ["details", "message", "error metadata"])
  func aStatusGoesOutWithoutWhatIsTooLarge(what: String) async throws {
    let error = await #expect(throws: RPCError.self) { try await call(what).get() }
    #expect(error?.code == .notFound)
    #expect(error?.message.hasPrefix("gone") == true)
    #expect(error?.encodedStatus == nil)
    #expect(error?.metadata["x-large"] == nil)
    #expect(error?.metadata["x-correlation-id"] != nil)
  }

  @Test(arguments: ["initial metadata", "trailing metadata"])
  func anAnswerGoesOutWithoutWhatIsTooLarge(what: String) async throws {
    let reply = try await call(what).get()
    #expect(reply.message == Array(what.utf8))
    #expect(reply.initialMetadata["x-large"] == nil)
    #expect(reply.trailingMetadata["x-large"] == nil)
    #expect(reply.trailingMetadata["x-correlation-id"] != nil)
  }

  /// What the connection itself is given and cannot send resets the stream.
  @Test(arguments: ["headers", "trailers"])
  func aBlockThatCannotBeSentResetsItsStream(what: String) async throws {
    let large = [("x-large", String(repeating: "x", count: 100_000))]
    let server = try await ScriptedServer.start { stream, _ in
      let head = [(":status", "200"), ("content-type", "application/grpc")]
      stream.sendHeaders(ScriptedServer.fields(head + (what == "headers" ? large : [])))
      stream.send(OutgoingMessage([1]))
      stream.finish(trailers: ScriptedServer.fields([("grpc-status", "0")] + large))
    }
    let client = try ChannelUnderTest(server.address)
    let error = await #expect(throws: RPCError.self) {
      try await client.channel.unary(EchoService.echo, [1], options: CallOptions())
    }
    #expect(error?.code == .internalError)
    await client.stop()
    await server.stop()
  }

  @Test func aRequestThatCannotBeSentFails() async throws {
    let server = try await TestServer()
    let client = try ChannelUnderTest(server.address.description)
    var options = CallOptions()
    options.metadata.add("x-large", String(repeating: "x", count: 100_000))
    let error = await #expect(throws: RPCError.self) {
      try await client.channel.unary(AttackedServer.echo, [1], options: options)
    }
    #expect(error?.code == .internalError, "\(error?.message ?? "")")
    await client.stop()
    await server.finish()
  }
}
