import KeelsonAPI
import KeelsonCore
import KeelsonReflection
import KeelsonTestKit
import Testing

@Suite struct ReflectionServiceTests {
  typealias Request = GrpcReflectionV1.ServerReflectionRequest
  typealias Response = GrpcReflectionV1.ServerReflectionResponse

  /// Asks on one stream; the answers.
  private func ask(_ requests: [Request], limits: ReflectionService.Limits = .init()) async throws
    -> [Response]
  {
    let service = ReflectionService(
      index: try DescriptorIndex(serializedSet: FileDescriptors.serializedSet),
      services: ["test.B", "test.A"], limits: limits)
    return try await withInProcessChannel(to: service.routesOfAllVersions) { channel in
      let call = GrpcReflectionV1.ServerReflectionClient(channel: channel).serverReflectionInfo()
      var responses: [Response] = []
      var answers = call.responses.makeAsyncIterator()
      for request in requests {
        try await call.requests.write(request)
        if let answer = try await answers.next() { responses.append(answer) }
      }
      call.requests.finish()
      #expect(try await answers.next() == nil)
      return responses
    }
  }

  private func request(_ question: Request.MessageRequest?, host: String = "") -> Request {
    var request = Request()
    request.host = host
    request.messageRequest = question
    return request
  }

  private func errorCode(_ response: Response?) -> Int32? {
    guard case .errorResponse(let error)? = response?.messageResponse else { return nil }
    #expect(!error.errorMessage.isEmpty)
    return error.errorCode
  }

  @Test func servicesAreListedInOrderWhateverTheTextSays() async throws {
    let question = request(.listServices("*"), host: "example.com")
    let answer = try #require(try await ask([question]).first)
    #expect(answer.validHost == "example.com")
    #expect(answer.originalRequest == question)
    #expect(
      answer.messageResponse
        == .listServicesResponse(
          .init(service: [.init(name: "test.A"), .init(name: "test.B")])))
  }

  @Test func anErrorAnswersOneRequestAndTheStreamGoesOn() async throws {
    var wrongExtension = GrpcReflectionV1.ExtensionRequest()
    wrongExtension.containingType = "google.rpc.Status"
    wrongExtension.extensionNumber = 12
    let answers = try await ask([
      request(.fileByFilename("none.proto")),
      request(.fileContainingSymbol("no.Symbol")),
      request(.fileContainingExtension(wrongExtension)),
      request(.allExtensionNumbersOfType("no.Type")),
      request(nil),
      request(.fileByFilename("google/rpc/status.proto")),
    ])
    #expect(answers.map(errorCode) == [5, 5, 5, 5, 3, nil])
    guard case .fileDescriptorResponse(let files)? = answers.last?.messageResponse else {
      Issue.record("not a file")
      return
    }
    #expect(files.fileDescriptorProto.count == 2)
  }

  @Test func aMessageWithoutExtensionsIsAnsweredWithNone() async throws {
    let answer = try await ask([request(.allExtensionNumbersOfType("google.rpc.Status"))]).first
    #expect(
      answer?.messageResponse
        == .allExtensionNumbersResponse(.init(baseTypeName: "google.rpc.Status")))
  }

  @Test func namesThatAreTooLongAreRefusedAndNotEchoed() async throws {
    let long = String(repeating: "x", count: 1_025)
    let answers = try await ask([
      request(.fileByFilename(long)), request(.listServices(""), host: long),
      request(.fileContainingSymbol(String(long.dropFirst()))),
    ])
    #expect(answers.map(errorCode) == [3, 3, 5])
    #expect(answers.map { $0.originalRequest == nil } == [true, true, false])
  }

  @Test func aStreamAnswersSoManyRequestsAndNoMore() async throws {
    var limits = ReflectionService.Limits()
    limits.requestsPerStream = 2
    let question = request(.listServices(""))
    #expect(try await ask([question, question], limits: limits).count == 2)
    let error = try await #require(throws: RPCError.self) {
      try await ask([question, question, question], limits: limits)
    }
    #expect(error.code == .resourceExhausted)
  }

  @Test func theOlderNameAnswersAlike() async throws {
    let service = ReflectionService(
      index: try DescriptorIndex(serializedSet: FileDescriptors.serializedSet),
      services: ReflectionService.names)
    try await withInProcessChannel(to: service.routesOfAllVersions) { channel in
      let call = GrpcReflectionV1alpha.ServerReflectionClient(channel: channel)
        .serverReflectionInfo()
      var question = GrpcReflectionV1alpha.ServerReflectionRequest()
      question.messageRequest = .listServices("")
      try await call.requests.write(question)
      call.requests.finish()
      var answers = call.responses.makeAsyncIterator()
      let answer = try #require(try await answers.next())
      #expect(answer.originalRequest == question)
      #expect(
        answer.messageResponse
          == .listServicesResponse(
            .init(service: [
              .init(name: "grpc.reflection.v1.ServerReflection"),
              .init(name: "grpc.reflection.v1alpha.ServerReflection"),
            ])))
      #expect(try await answers.next() == nil)
    }
  }
}
