import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages
import Testing

private typealias Leaf = KeelsonTestV1.Leaf

/// Answers with what it got, and fails for a leaf named "fail".
private struct Echo: KeelsonTestV1.CallsHandler {
  static let details: [ErrorDetail] = [
    .badRequest([FieldViolation(field: "name", description: "is wrong")]),
    .retryInfo(.milliseconds(1500)),
    .resourceInfo(type: "leaf", name: "fail", description: "gone"),
    .preconditionFailure([
      PreconditionViolation(type: "STATE", subject: "leaf", description: "not green")
    ]),
    .errorInfo(reason: "FAILED", domain: "test", metadata: ["k": "v"]),
  ]

  private func check(_ leaf: Leaf) throws {
    guard leaf.name != "fail" else {
      throw RPCError(.failedPrecondition, "as asked", details: Self.details)
    }
  }

  func unary(_ request: Leaf, context: ServerContext) async throws -> Leaf {
    try check(request)
    return request
  }

  func clientStream(requests: RequestStream<Leaf>, context: ServerContext) async throws -> Leaf {
    var sum = Leaf()
    for try await leaf in requests {
      try check(leaf)
      sum.name += leaf.name
      sum.count += leaf.count
    }
    return sum
  }

  func serverStream(_ request: Leaf, responses: ResponseWriter<Leaf>, context: ServerContext)
    async throws
  {
    try check(request)
    for number in 0..<request.count {
      try await responses.write(Leaf(name: request.name, count: number))
    }
    try await responses.write(encoded: Leaf(name: "last").encoded())
  }

  func bidirectional(
    requests: RequestStream<Leaf>, responses: ResponseWriter<Leaf>, context: ServerContext
  ) async throws {
    for try await leaf in requests {
      try check(leaf)
      try await responses.write(leaf)
    }
  }
}

@Suite struct ServiceTests {
  /// Runs the route of a method on encoded requests; the encoded responses.
  private func serve(_ method: MethodDescriptor, _ requests: [[UInt8]]) async throws -> [[UInt8]] {
    let route = try #require(Echo().routes.first { $0.method == method })
    let context = ServerContext(method: method)
    switch route.handler {
    case .unary(let handler):
      return [try await handler(requests.first ?? [], context)]
    case .immediate(let handler):
      return [try handler(requests.first ?? [], context)]
    case .streaming(let handler):
      let written = WrittenMessages()
      try await handler(GivenMessages(requests), written, context)
      return written.all
    }
  }

  @Test func methodsAreDescribedAsInTheFile() {
    let all = KeelsonTestV1.CallsMethods.all
    #expect(all.map(\.kind) == [.unary, .clientStreaming, .serverStreaming, .bidirectional])
    #expect(all.map(\.isIdempotent) == [true, false, false, false])
    #expect(all[1].path == "/keelson.test.v1.Calls/ClientStream")
    #expect(Echo().routes.map(\.method) == all)
  }

  @Test func routesDecodeCallAndEncode() async throws {
    let one = Leaf(name: "a", count: 2)
    let two = Leaf(name: "b", count: 3)
    let encoded = [one.encoded(), two.encoded()]
    #expect(try await serve(KeelsonTestV1.CallsMethods.unary, [encoded[0]]) == [encoded[0]])
    #expect(
      try await serve(KeelsonTestV1.CallsMethods.clientStream, encoded)
        == [Leaf(name: "ab", count: 5).encoded()])
    #expect(
      try await serve(KeelsonTestV1.CallsMethods.serverStream, [encoded[0]]).map {
        try Leaf(decoding: $0)
      } == [Leaf(name: "a"), Leaf(name: "a", count: 1), Leaf(name: "last")])
    #expect(try await serve(KeelsonTestV1.CallsMethods.bidirectional, encoded) == encoded)
  }

  @Test func eachRouteEncodesTheDetailsOfItsError() async throws {
    for method in KeelsonTestV1.CallsMethods.all {
      let error = try await #require(throws: RPCError.self) {
        try await serve(method, [Leaf(name: "fail").encoded()])
      }
      let status = try GoogleRpc.Status(decoding: try #require(error.encodedStatus))
      #expect(status.code == 9)
      #expect(status.message == "as asked")
      #expect(status.details.count == Echo.details.count)
      var received = RPCError(.failedPrecondition, "as asked")
      received.encodedStatus = error.encodedStatus
      #expect(received.withDecodedDetails().details == Echo.details)
    }
  }

  @Test func eachRouteRejectsBytesThatAreNoMessage() async throws {
    for method in KeelsonTestV1.CallsMethods.all {
      let error = try await #require(throws: RPCError.self) { try await serve(method, [[0x0B]]) }
      #expect(error.code == .invalidArgument)
    }
  }

  @Test func aServerStreamTakesExactlyOneRequest() async throws {
    for requests in [[], [[], []]] as [[[UInt8]]] {
      let error = try await #require(throws: RPCError.self) {
        try await serve(KeelsonTestV1.CallsMethods.serverStream, requests)
      }
      #expect(error.code == .unimplemented)
    }
  }

  @Test func aUnaryCallReturnsTheReplyOrThrowsTheDetails() async throws {
    let client = KeelsonTestV1.CallsClient(channel: ScriptedChannel { $0 })
    #expect(try await client.unary(Leaf(name: "a")) == Leaf(name: "a"))
    let failing = KeelsonTestV1.CallsClient(
      channel: ScriptedChannel { _ in
        var error = RPCError(.notFound, "gone", details: Echo.details).withEncodedStatus()
        error.details = []
        throw error
      })
    let error = try await #require(throws: RPCError.self) { try await failing.unary(Leaf()) }
    #expect(error.code == .notFound)
    #expect(error.details == Echo.details)
  }

  @Test func aReplyThatCannotBeDecodedIsTheServersFault() async throws {
    let client = KeelsonTestV1.CallsClient(channel: ScriptedChannel { _ in [[0x0B]] })
    let error = try await #require(throws: RPCError.self) { try await client.unary(Leaf()) }
    #expect(error.code == .internalError)
  }

  @Test func aResponseStreamGivesAllMessagesAndTheMetadata() async throws {
    let channel = ScriptedChannel { $0 + [Leaf(name: "more").encoded()] }
    let stream = KeelsonTestV1.CallsClient(channel: channel).serverStream(Leaf(name: "a"))
    #expect(try await stream.initialMetadata() == ["initial": "i"])
    var names: [String] = []
    for try await leaf in stream { names.append(leaf.name) }
    #expect(names == ["a", "more"])
    #expect(stream.trailingMetadata == ["trailing": "t"])
    #expect(channel.calls.all.map(\.isCancelled) == [false])
  }

  @Test func leavingTheLoopCancelsTheCall() async throws {
    let channel = ScriptedChannel { _ in [[], [], []] }
    let stream = KeelsonTestV1.CallsClient(channel: channel).serverStream(Leaf())
    for try await _ in stream { break }
    #expect(channel.calls.all.map(\.isCancelled) == [true])
    _ = stream.trailingMetadata
  }

  @Test func droppingTheStreamUnreadCancelsTheCall() {
    let channel = ScriptedChannel { _ in [] }
    _ = KeelsonTestV1.CallsClient(channel: channel).serverStream(Leaf())
    #expect(channel.calls.all.map(\.isCancelled) == [true])
  }

  @Test func cancellingTheTaskCancelsTheCall() async throws {
    let channel = ScriptedChannel { _ in [] }
    // Never finishes sending, so its responses never come.
    let call = KeelsonTestV1.CallsClient(channel: channel).bidirectional()
    let task = Task {
      for try await _ in call.responses {}
    }
    task.cancel()
    let error = await #expect(throws: RPCError.self) { try await task.value }
    #expect(error?.code == .cancelled)
    #expect(channel.calls.all.map(\.isCancelled) == [true])
  }

  @Test func aClientStreamSendsThenReceives() async throws {
    let channel = ScriptedChannel { sent in [Leaf(count: Int32(sent.count)).encoded()] }
    let client = KeelsonTestV1.CallsClient(channel: channel)
    let reply = try await client.clientStream { writer in
      for _ in 0..<3 { try await writer.write(Leaf()) }
    }
    #expect(reply.count == 3)
  }

  @Test func anErrorWhileSendingCancelsTheCall() async throws {
    struct Stop: Error {}
    let channel = ScriptedChannel { _ in [] }
    let client = KeelsonTestV1.CallsClient(channel: channel)
    await #expect(throws: Stop.self) { try await client.clientStream { _ in throw Stop() } }
    #expect(channel.calls.all.map(\.isCancelled) == [true])
  }

  @Test func aBidirectionalCallSendsAndReceives() async throws {
    let call = KeelsonTestV1.CallsClient(channel: ScriptedChannel { $0 }).bidirectional()
    try await call.requests.write(Leaf(name: "a"))
    try await call.requests.write(Leaf(name: "b"))
    call.requests.finish()
    var names: [String] = []
    for try await leaf in call.responses { names.append(leaf.name) }
    #expect(names == ["a", "b"])
  }
}
