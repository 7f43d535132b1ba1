import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages
import KeelsonTransport

extension InteropCase {
  /// One request, one response.
  static let unary = [
    InteropCase(name: "empty_unary") { peer in
      let response = try await peer.client.emptyCall(GrpcTesting.Empty())
      try expect(response.encoded().isEmpty, "the empty response holds fields")
    },
    InteropCase(name: "large_unary") { peer in try await peer.largeUnary() },
    InteropCase(name: "custom_metadata") { peer in
      try await peer.customMetadataOfUnary()
      try await peer.customMetadataOfFullDuplex()
    },
  ]
}

extension InteropPeer {
  func largeUnary() async throws {
    let response = try await client.unaryCall(.large)
    try response.payload.expectZeros(
      GrpcTesting.SimpleRequest.largeResponseBytes, in: "the response")
  }
}

/// Metadata that the server sends back.
private enum Echoed {
  static let initialName = "x-grpc-test-echo-initial"
  static let initialValue = "test_initial_metadata_value"
  static let trailingName = "x-grpc-test-echo-trailing-bin"
  static let trailingValue: [UInt8] = [0xAB, 0xAB, 0xAB]

  static var options: CallOptions {
    var metadata: Metadata = [initialName: initialValue]
    metadata.add(trailingName, binary: trailingValue)
    return CallOptions(metadata: metadata, timeout: .seconds(10))
  }

  static func check(initial: Metadata, trailing: Metadata, of call: String) throws {
    try expect(
      initial[initialName] == initialValue,
      "\(call) brought the initial metadata \(initial.entries)")
    try expect(
      trailing[binary: trailingName] == trailingValue,
      "\(call) brought the trailing metadata \(trailing.entries)")
  }
}

extension InteropPeer {
  fileprivate func customMetadataOfUnary() async throws {
    let reply = try await channel.unary(
      GrpcTesting.TestServiceMethods.unaryCall, GrpcTesting.SimpleRequest.large.encoded(),
      options: Echoed.options)
    let response = try GrpcTesting.SimpleResponse(decoding: reply.message)
    try response.payload.expectZeros(
      GrpcTesting.SimpleRequest.largeResponseBytes, in: "the response")
    try Echoed.check(
      initial: reply.initialMetadata, trailing: reply.trailingMetadata, of: "UnaryCall")
  }

  fileprivate func customMetadataOfFullDuplex() async throws {
    let call = client.fullDuplexCall(options: Echoed.options)
    try await call.requests.write(
      GrpcTesting.StreamingOutputCallRequest(
        responseParameters: [
          GrpcTesting.ResponseParameters(size: Int32(GrpcTesting.SimpleRequest.largeResponseBytes))
        ], payload: .zeros(GrpcTesting.SimpleRequest.largeRequestBytes)))
    call.requests.finish()
    try await call.responses.expectSizes([GrpcTesting.SimpleRequest.largeResponseBytes])
    try Echoed.check(
      initial: try await call.responses.initialMetadata(),
      trailing: call.responses.trailingMetadata, of: "FullDuplexCall")
  }
}
