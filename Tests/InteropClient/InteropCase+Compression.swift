import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages
import KeelsonTransport

extension InteropCase {
  /// Messages compressed with gzip and messages as they are, side by side. Whether they really are
  /// one or the other is for who runs the case to see, on the wire.
  static let compression = [
    InteropCase(name: "client_compressed_unary") { peer in
      try await peer.probeCompressionOfUnary()
      try await peer.clientCompressedUnary()
    },
    InteropCase(name: "server_compressed_unary") { peer in
      for isCompressed in [true, false] {
        var request = GrpcTesting.SimpleRequest.large
        request.responseCompressed = GrpcTesting.BoolValue(value: isCompressed)
        let response = try await peer.client.unaryCall(request)
        try response.payload.expectZeros(
          GrpcTesting.SimpleRequest.largeResponseBytes, in: "the response")
      }
    },
    InteropCase(name: "client_compressed_streaming") { peer in
      try await peer.probeCompressionOfStreaming()
      try await peer.clientCompressedStreaming()
    },
    InteropCase(name: "server_compressed_streaming") { peer in
      let sizes = [31_415, 92_653]
      let responses = peer.client.streamingOutputCall(
        GrpcTesting.StreamingOutputCallRequest(
          responseParameters: zip(sizes, [true, false]).map { size, isCompressed in
            GrpcTesting.ResponseParameters(
              size: Int32(size), compressed: GrpcTesting.BoolValue(value: isCompressed))
          }))
      try await responses.expectSizes(sizes)
    },
    // For servers that cannot see whether a request is compressed, and so fail the probe.
    InteropCase(name: "client_compressed_unary_noprobe") { peer in
      try await peer.clientCompressedUnary()
    },
    InteropCase(name: "client_compressed_streaming_noprobe") { peer in
      try await peer.clientCompressedStreaming()
    },
  ]
}

extension InteropPeer {
  private func unary(_ isCompressed: Bool, expected: Bool) async throws {
    var request = GrpcTesting.SimpleRequest.large
    request.expectCompressed = GrpcTesting.BoolValue(value: expected)
    let response = try await client.unaryCall(
      request, options: CallOptions(compressesRequests: isCompressed))
    try response.payload.expectZeros(
      GrpcTesting.SimpleRequest.largeResponseBytes, in: "the response")
  }

  fileprivate func probeCompressionOfUnary() async throws {
    try await expectStatus(.invalidArgument, of: "the call that only says it is compressed") {
      try await unary(false, expected: true)
    }
  }

  fileprivate func clientCompressedUnary() async throws {
    try await unary(true, expected: true)
    try await unary(false, expected: false)
  }

  /// A StreamingInputCall of messages that are compressed or not; the size that came of it.
  private func streaming(
    _ messages: [(request: GrpcTesting.StreamingInputCallRequest, isCompressed: Bool)]
  ) async throws -> Int32 {
    let call = channel.startCall(
      GrpcTesting.TestServiceMethods.streamingInputCall,
      options: CallOptions(timeout: .seconds(20), compressesRequests: true))
    for message in messages {
      do {
        try await call.send(message.request.encoded(), compress: message.isCompressed)
      } catch {
        break  // The call has ended; its status says why.
      }
    }
    call.finishSending()
    guard let response = try await call.receive() else {
      throw CaseFailure("StreamingInputCall ended without a response")
    }
    try expect(try await call.receive() == nil, "StreamingInputCall had several responses")
    return try GrpcTesting.StreamingInputCallResponse(decoding: response).aggregatedPayloadSize
  }

  private static let first = GrpcTesting.StreamingInputCallRequest(
    payload: .zeros(27_182), expectCompressed: GrpcTesting.BoolValue(value: true))
  private static let second = GrpcTesting.StreamingInputCallRequest(
    payload: .zeros(45_904), expectCompressed: GrpcTesting.BoolValue(value: false))

  fileprivate func probeCompressionOfStreaming() async throws {
    try await expectStatus(.invalidArgument, of: "the call that only says it is compressed") {
      _ = try await streaming([(Self.first, false)])
    }
  }

  fileprivate func clientCompressedStreaming() async throws {
    let size = try await streaming([(Self.first, true), (Self.second, false)])
    try expect(size == 73_086, "the payloads came to \(size) bytes, not 73086")
  }
}
