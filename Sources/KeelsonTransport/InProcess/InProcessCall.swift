import KeelsonCore

/// The caller's end of a call within the process. Letting go of it cancels the call.
final class InProcessCall: ClientCall {
  private let exchange: InProcessExchange

  init(_ exchange: InProcessExchange) {
    self.exchange = exchange
  }

  deinit {
    cancel()
  }

  func send(_ message: [UInt8]) async throws {
    if Task.isCancelled { cancel() }
    if let end = exchange.requests.end { throw Self.sendError(end) }
    guard !exchange.requests.push(message) else { return }
    let end = await withTaskCancellationHandler {
      await exchange.requests.waitForRoom()
    } onCancel: {
      cancel()
    }
    if let end { throw Self.sendError(end) }
  }

  func finishSending() {
    exchange.requests.finish(.ok([:]), discarding: false)
  }

  func receive() async throws -> [UInt8]? {
    let item = await withTaskCancellationHandler {
      await exchange.responses.next()
    } onCancel: {
      cancel()
    }
    switch item {
    case .message(let message): return message
    case .end(.ok): return nil
    case .end(.failed(let error)): throw error
    }
  }

  func initialMetadata() async throws -> Metadata {
    try await withTaskCancellationHandler {
      try await exchange.responses.head()
    } onCancel: {
      cancel()
    }
  }

  var trailingMetadata: Metadata { exchange.responses.end?.trailingMetadata ?? [:] }

  func cancel() {
    exchange.settle(.failed(.cancelledByCaller), discarding: true)
  }

  private static func sendError(_ end: CallEnd) -> RPCError {
    end.error ?? RPCError(.internalError, "A message was sent after finishSending().")
  }
}
