package import KeelsonAPI
package import KeelsonCore

/// `grpc.reflection.v1.ServerReflection`, and the same under its older name
/// `grpc.reflection.v1alpha`. Source: grpc/grpc `doc/server-reflection.md`.
package final class ReflectionService: GrpcReflectionV1.ServerReflectionHandler {
  /// How much one stream may ask.
  package struct Limits: Sendable {
    /// Requests on one stream; tools ask some hundred.
    package var requestsPerStream = 10_000
    /// The length of a host and of each name, in bytes of UTF-8; requests are echoed.
    package var nameBytes = 1_024

    package init() {}
  }

  private typealias Request = GrpcReflectionV1.ServerReflectionRequest
  private typealias Response = GrpcReflectionV1.ServerReflectionResponse

  /// The full names of the service, the current one first.
  package static let names = [
    GrpcReflectionV1.ServerReflectionMethods.serverReflectionInfo.service,
    GrpcReflectionV1alpha.ServerReflectionMethods.serverReflectionInfo.service,
  ]

  private let index: DescriptorIndex
  private let services: [String]
  private let limits: Limits

  /// - Parameter services: the full names of the services this server has.
  package init(
    index: DescriptorIndex, services: some Sequence<String>, limits: Limits = Limits()
  ) {
    self.index = index
    self.services = services.sorted()
    self.limits = limits
  }

  /// The routes of both names. Their messages are the same on the wire.
  package var routesOfAllVersions: [Route] {
    routes + [
      .bidirectional(GrpcReflectionV1alpha.ServerReflectionMethods.serverReflectionInfo) {
        [self] requests, responses, context in
        try await serverReflectionInfo(
          requests: requests, responses: responses, context: context)
      }
    ]
  }

  package func serverReflectionInfo(
    requests: RequestStream<GrpcReflectionV1.ServerReflectionRequest>,
    responses: ResponseWriter<GrpcReflectionV1.ServerReflectionResponse>, context: ServerContext
  ) async throws {
    var remaining = limits.requestsPerStream
    for try await request in requests {
      remaining -= 1
      guard remaining >= 0 else {
        throw RPCError(
          .resourceExhausted,
          "One stream answers \(limits.requestsPerStream) requests; open another.")
      }
      try await responses.write(response(to: request))
    }
  }

  private func response(to request: Request) -> Response {
    var response = Response()
    guard request.host.utf8.count <= limits.nameBytes,
      (request.messageRequest?.name.utf8.count ?? 0) <= limits.nameBytes
    else {
      // Not echoed: it may be as long as a message.
      response.messageResponse = .errorResponse(
        .init(
          RPCError(
            .invalidArgument, "Hosts and names are \(limits.nameBytes) bytes long at most.")))
      return response
    }
    response.validHost = request.host
    response.originalRequest = request
    do throws(RPCError) {
      response.messageResponse = try answer(request.messageRequest)
    } catch {
      response.messageResponse = .errorResponse(.init(error))
    }
    return response
  }

  private func answer(_ question: Request.MessageRequest?) throws(RPCError)
    -> Response.MessageResponse
  {
    switch question {
    case .fileByFilename(let name):
      try Self.files(index.file(named: name), "There is no file \"\(name)\" here.")
    case .fileContainingSymbol(let symbol):
      try Self.files(index.file(containing: symbol), "No file here defines \"\(symbol)\".")
    case .fileContainingExtension(let request):
      try Self.files(
        index.file(
          containingExtension: request.extensionNumber, of: request.containingType),
        "No file here defines extension \(request.extensionNumber) of "
          + "\"\(request.containingType)\".")
    case .allExtensionNumbersOfType(let type):
      try extensionNumbers(of: type)
    case .listServices:
      .listServicesResponse(.init(service: services.map { .init(name: $0) }))
    case nil:
      throw RPCError(.invalidArgument, "message_request is not set; set one of its fields.")
    }
  }

  private static func files(_ files: [[UInt8]]?, _ absence: String) throws(RPCError)
    -> Response.MessageResponse
  {
    guard let files else { throw RPCError(.notFound, absence) }
    return .fileDescriptorResponse(.init(fileDescriptorProto: files))
  }

  private func extensionNumbers(of type: String) throws(RPCError) -> Response.MessageResponse {
    guard let numbers = index.extensionNumbers(of: type) else {
      throw RPCError(.notFound, "No file here defines a message \"\(type)\".")
    }
    return .allExtensionNumbersResponse(.init(baseTypeName: type, extensionNumber: numbers))
  }
}

extension GrpcReflectionV1.ServerReflectionRequest.MessageRequest {
  /// The text in it.
  fileprivate var name: String {
    switch self {
    case .fileByFilename(let text), .fileContainingSymbol(let text),
      .allExtensionNumbersOfType(let text), .listServices(let text):
      text
    case .fileContainingExtension(let request): request.containingType
    }
  }
}

extension GrpcReflectionV1.ErrorResponse {
  fileprivate init(_ error: RPCError) {
    self.init(
      errorCode: Int32(truncatingIfNeeded: error.code.rawValue), errorMessage: error.message)
  }
}
