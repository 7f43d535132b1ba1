import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages

extension InteropCase {
  static let requestSizes = [27_182, 8, 1_828, 45_904]
  static let responseSizes = [31_415, 9, 2_653, 58_979]

  /// Several messages one way or both.
  static let streaming = [
    InteropCase(name: "client_streaming") { peer in
      let response = try await peer.client.streamingInputCall { requests in
        for size in requestSizes {
          try await requests.write(
            GrpcTesting.StreamingInputCallRequest(payload: .zeros(size)))
        }
      }
      try expect(
        response.aggregatedPayloadSize == 74_922,
        "the payloads came to \(response.aggregatedPayloadSize) bytes, not 74922")
    },
    InteropCase(name: "server_streaming") { peer in
      let responses = peer.client.streamingOutputCall(
        GrpcTesting.StreamingOutputCallRequest(
          responseParameters: responseSizes.map {
            GrpcTesting.ResponseParameters(size: Int32($0))
          }))
      try await responses.expectSizes(responseSizes)
    },
    InteropCase(name: "ping_pong") { peer in
      let call = peer.client.fullDuplexCall()
      var responses = call.responses.makeAsyncIterator()
      for (request, response) in zip(requestSizes, responseSizes) {
        try await call.requests.write(.asking(for: response, payload: request))
        let answer = try await responses.next()
        try expect(answer != nil, "the call ended ahead of its last response")
        try (answer?.payload).expectZeros(response, in: "a response")
      }
      call.requests.finish()
      try expect(try await responses.next() == nil, "there were more than four responses")
    },
    InteropCase(name: "empty_stream") { peer in
      let call = peer.client.fullDuplexCall()
      call.requests.finish()
      try await call.responses.expectSizes([])
    },
  ]
}

extension GrpcTesting.StreamingOutputCallRequest {
  /// A request for one response.
  static func asking(for size: Int, payload: Int) -> GrpcTesting.StreamingOutputCallRequest {
    GrpcTesting.StreamingOutputCallRequest(
      responseParameters: [GrpcTesting.ResponseParameters(size: Int32(size))],
      payload: .zeros(payload))
  }
}

extension ResponseStream<GrpcTesting.StreamingOutputCallResponse> {
  /// Reads to the end; fails unless there are just responses of these sizes, in this order.
  func expectSizes(_ sizes: [Int]) async throws {
    var count = 0
    for try await response in self {
      try expect(count < sizes.count, "there were more than \(sizes.count) responses")
      try response.payload.expectZeros(sizes[count], in: "response \(count)")
      count += 1
    }
    try expect(count == sizes.count, "there were \(count) responses, not \(sizes.count)")
  }
}
