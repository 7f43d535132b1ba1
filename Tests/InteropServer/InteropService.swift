import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages

/// `grpc.testing.TestService` as every gRPC implementation serves it for the interop cases.
/// Source: grpc/grpc `doc/interop-test-descriptions.md`, "Server".
final class InteropService: GrpcTesting.TestServiceHandler {
  private let payloads = ZeroPayloads()

  /// The routes of the service. `UnimplementedCall` has none: it is the router that must answer.
  var served: [Route] {
    routes.filter { $0.method != GrpcTesting.TestServiceMethods.unimplementedCall }
  }

  func emptyCall(
    _ request: GrpcTesting.Empty, context: ServerContext
  ) async throws -> GrpcTesting.Empty {
    context.echoMetadata()
    return GrpcTesting.Empty()
  }

  func unaryCall(
    _ request: GrpcTesting.SimpleRequest, context: ServerContext
  ) async throws -> GrpcTesting.SimpleResponse {
    context.echoMetadata()
    try context.check(request.expectCompressed)
    try request.responseStatus?.throwIfNotOK()
    try request.responseType.throwIfUnknown()
    context.compress(request.responseCompressed)
    return GrpcTesting.SimpleResponse(payload: try payloads.payload(bytes: request.responseSize))
  }

  func cacheableUnaryCall(
    _ request: GrpcTesting.SimpleRequest, context: ServerContext
  ) async throws -> GrpcTesting.SimpleResponse {
    context.initialMetadata.add("cache-control", "max-age=60, public")
    // Another answer each time, so that a caller sees whether it came from a proxy.
    let time = Array("\(UnixTime.now.microseconds)".utf8)
    return GrpcTesting.SimpleResponse(payload: GrpcTesting.Payload(body: time))
  }

  func streamingOutputCall(
    _ request: GrpcTesting.StreamingOutputCallRequest,
    responses: ResponseWriter<GrpcTesting.StreamingOutputCallResponse>, context: ServerContext
  ) async throws {
    context.echoMetadata()
    try await answer(request, on: responses, context)
  }

  func streamingInputCall(
    requests: RequestStream<GrpcTesting.StreamingInputCallRequest>, context: ServerContext
  ) async throws -> GrpcTesting.StreamingInputCallResponse {
    context.echoMetadata()
    var sum = 0
    for try await request in requests {
      try context.check(request.expectCompressed)
      sum += request.payload?.body.count ?? 0
    }
    return GrpcTesting.StreamingInputCallResponse(aggregatedPayloadSize: Int32(clamping: sum))
  }

  func fullDuplexCall(
    requests: RequestStream<GrpcTesting.StreamingOutputCallRequest>,
    responses: ResponseWriter<GrpcTesting.StreamingOutputCallResponse>, context: ServerContext
  ) async throws {
    context.echoMetadata()
    for try await request in requests { try await answer(request, on: responses, context) }
  }

  /// How many requests one HalfDuplexCall may hold.
  static let maximumHeldRequests = 10_000

  func halfDuplexCall(
    requests: RequestStream<GrpcTesting.StreamingOutputCallRequest>,
    responses: ResponseWriter<GrpcTesting.StreamingOutputCallResponse>, context: ServerContext
  ) async throws {
    context.echoMetadata()
    var held: [GrpcTesting.StreamingOutputCallRequest] = []
    for try await var request in requests {
      guard held.count < Self.maximumHeldRequests else {
        throw RPCError(
          .resourceExhausted, "A call holds at most \(Self.maximumHeldRequests) requests.")
      }
      // Nothing is answered from it, and it may be large.
      request.payload = nil
      held.append(request)
    }
    for request in held { try await answer(request, on: responses, context) }
  }

  func unimplementedCall(
    _ request: GrpcTesting.Empty, context: ServerContext
  ) async throws -> GrpcTesting.Empty {
    throw RPCError(.unimplemented, "No server implements this.")
  }

  /// Sends what a request asks for: a response for each of its parameters, or a status.
  private func answer(
    _ request: GrpcTesting.StreamingOutputCallRequest,
    on responses: ResponseWriter<GrpcTesting.StreamingOutputCallResponse>,
    _ context: ServerContext
  ) async throws {
    try request.responseStatus?.throwIfNotOK()
    try request.responseType.throwIfUnknown()
    for parameters in request.responseParameters {
      if parameters.intervalUs > 0 {
        try await Task.sleep(for: .microseconds(parameters.intervalUs))
      }
      context.compress(parameters.compressed)
      try await responses.write(
        GrpcTesting.StreamingOutputCallResponse(
          payload: try payloads.payload(bytes: parameters.size)))
    }
  }
}

extension GrpcTesting.EchoStatus {
  /// Throws the status that the caller asked for.
  fileprivate func throwIfNotOK() throws(RPCError) {
    guard code != 0 else { return }
    throw RPCError(RPCError.Code(rawValue: Int(code)), message)
  }
}

extension GrpcTesting.PayloadType {
  fileprivate func throwIfUnknown() throws(RPCError) {
    guard case .unrecognized(let number) = self else { return }
    throw RPCError(.invalidArgument, "There is no payload type \(number) here.")
  }
}

extension ServerContext {
  /// Refuses a message that came another way than it says.
  fileprivate func check(_ expectCompressed: GrpcTesting.BoolValue?) throws(RPCError) {
    guard let expectCompressed, expectCompressed.value != isRequestCompressed else { return }
    throw RPCError(
      .invalidArgument,
      expectCompressed.value
        ? "The message says it is compressed, and is not."
        : "The message says it is not compressed, and is.")
  }

  /// Has the next message compressed or not, as the caller wishes.
  fileprivate func compress(_ isCompressed: GrpcTesting.BoolValue?) {
    switch isCompressed?.value {
    case true: responseCompression = .on
    case false: responseCompression = .off
    case nil: break
    }
  }

  /// Sends back what the cases ask to be echoed.
  fileprivate func echoMetadata() {
    guard !metadata.isEmpty else { return }
    for entry in metadata.entries {
      switch entry.name {
      case "x-grpc-test-echo-initial": initialMetadata.append(entry)
      case "x-grpc-test-echo-trailing-bin": trailingMetadata.append(entry)
      default: continue
      }
    }
  }
}
