import KeelsonAPI
import KeelsonCore
import KeelsonTestMessages

extension InteropCase {
  /// Calls that end with another status than OK.
  static let endings = [
    InteropCase(name: "status_code_and_message") { peer in
      let message = "test status message"
      try await peer.expectEchoOfUnary(message)
      try await peer.expectEchoOfFullDuplex(message)
    },
    InteropCase(name: "special_status_message") { peer in
      try await peer.expectEchoOfUnary(
        "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n")
    },
    InteropCase(name: "unimplemented_method") { peer in
      try await expectStatus(.unimplemented, of: "UnimplementedCall") {
        _ = try await peer.client.unimplementedCall(GrpcTesting.Empty())
      }
    },
    InteropCase(name: "unimplemented_service") { peer in
      let client = GrpcTesting.UnimplementedServiceClient(channel: peer.channel)
      try await expectStatus(.unimplemented, of: "UnimplementedService") {
        _ = try await client.unimplementedCall(GrpcTesting.Empty())
      }
    },
    InteropCase(name: "cancel_after_begin") { peer in try await peer.cancelAfterBegin() },
    InteropCase(name: "cancel_after_first_response") { peer in
      let call = peer.client.fullDuplexCall()
      try await call.requests.write(.asking(for: 31_415, payload: 27_182))
      var responses = call.responses.makeAsyncIterator()
      let response = try await responses.next()
      try (response?.payload).expectZeros(31_415, in: "the first response")
      call.cancel()
      try await expectStatus(.cancelled, of: "the cancelled call") {
        _ = try await responses.next()
      }
    },
    InteropCase(name: "timeout_on_sleeping_server") { peer in
      // So that it is not the connection that takes the time.
      _ = try await peer.client.emptyCall(GrpcTesting.Empty())
      let call = peer.client.fullDuplexCall(options: CallOptions(timeout: .milliseconds(1)))
      // May find the call ended; its end is what counts.
      try? await call.requests.write(
        GrpcTesting.StreamingOutputCallRequest(payload: .zeros(27_182)))
      try await expectStatus(.deadlineExceeded, of: "the call with a timeout of 1 ms") {
        for try await _ in call.responses {
          throw CaseFailure("a response came that nobody asked for")
        }
      }
    },
  ]
}

extension InteropPeer {
  fileprivate func expectEchoOfUnary(_ message: String) async throws {
    let status = GrpcTesting.EchoStatus(code: 2, message: message)
    let error = try await expectStatus(.unknown, of: "UnaryCall") {
      _ = try await client.unaryCall(GrpcTesting.SimpleRequest(responseStatus: status))
    }
    try expect(
      error.message == message, "UnaryCall's message was \(error.message.debugDescription)")
  }

  fileprivate func expectEchoOfFullDuplex(_ message: String) async throws {
    let status = GrpcTesting.EchoStatus(code: 2, message: message)
    let error = try await expectStatus(.unknown, of: "FullDuplexCall") {
      let call = client.fullDuplexCall()
      try await call.requests.write(
        GrpcTesting.StreamingOutputCallRequest(responseStatus: status))
      call.requests.finish()
      for try await _ in call.responses {
        throw CaseFailure("a response came ahead of the status that was asked for")
      }
    }
    try expect(
      error.message == message, "FullDuplexCall's message was \(error.message.debugDescription)")
  }

  /// Cancels a call whose headers are out and whose messages are not, as callers do it: by
  /// cancelling the task that makes it.
  fileprivate func cancelAfterBegin() async throws {
    let (never, keepsWaiting) = AsyncStream.makeStream(of: Never.self)
    let (begun, begin) = AsyncStream.makeStream(of: Void.self)
    let call = Task { [client] in
      try await client.streamingInputCall { _ in
        begin.finish()
        // Ends when the task is cancelled.
        for await _ in never {}
      }
    }
    for await _ in begun {}
    call.cancel()
    try await expectStatus(.cancelled, of: "the cancelled call") { _ = try await call.value }
    keepsWaiting.finish()
  }
}
