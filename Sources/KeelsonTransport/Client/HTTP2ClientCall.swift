import KeelsonCore

/// The caller's end of a streaming call. Letting go of it cancels the call.
final class HTTP2ClientCall: ClientCall {
  private let stream: ClientStream
  private let responses: MessageQueue

  init(_ stream: ClientStream, responses: MessageQueue) {
    self.stream = stream
    self.responses = responses
  }

  deinit {
    if responses.end == nil { stream.cancel() }
  }

  func send(_ message: [UInt8]) async throws {
    try await send(message, compress: true)
  }

  func send(_ message: [UInt8], compress: Bool) async throws {
    if Task.isCancelled { stream.cancel() }
    try await stream.send(message, compress: compress)
  }

  func finishSending() {
    stream.finishSending()
  }

  func receive() async throws -> [UInt8]? {
    let item: MessageQueue.Item
    if !Task.isCancelled, let ready = responses.poll() {
      item = ready
    } else {
      item = await withTaskCancellationHandler {
        await responses.next()
      } onCancel: {
        stream.cancel()
      }
    }
    switch item {
    case .message(let message): return message
    case .end(.ok): return nil
    case .end(.failed(let error)): throw error
    }
  }

  func initialMetadata() async throws -> Metadata {
    try await withTaskCancellationHandler {
      try await responses.head()
    } onCancel: {
      stream.cancel()
    }
  }

  var trailingMetadata: Metadata { responses.end?.trailingMetadata ?? [:] }

  func cancel() {
    stream.cancel()
  }
}
