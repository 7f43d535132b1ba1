import KeelsonCore
import Synchronization

/// A call within the process: the queues of its two directions and the handler between them.
final class InProcessExchange: Sendable {
  let requests: MessageQueue
  let responses: MessageQueue
  private let maximumMessageBytes: Int

  private struct State {
    var handler: Task<Void, Never>?
    var timer: Task<Void, Never>?
    var hasSentHead = false
    var isSettled = false
  }
  private let state = Mutex(State())

  init(maximumMessageBytes: Int, queueBytes: Int) {
    self.maximumMessageBytes = maximumMessageBytes
    requests = MessageQueue(limitBytes: queueBytes)
    responses = MessageQueue(limitBytes: queueBytes)
  }

  /// Runs the handler in a task of its own.
  func start(
    _ route: Route, _ context: ServerContext, logger: Logger,
    whenReturned: @escaping @Sendable () -> Void
  ) {
    let handler = Task {
      let end = await run(route, context, logger: logger)
      settle(end, discarding: false)
      whenReturned()
    }
    let timer = context.deadline.map { deadline in
      Task {
        guard (try? await Task.sleep(until: deadline.instant, clock: .continuous)) != nil else {
          return
        }
        settle(.failed(.deadlinePassed), discarding: true)
      }
    }
    let isSettled = state.withLock { state in
      state.handler = handler
      state.timer = timer
      return state.isSettled
    }
    if isSettled {
      handler.cancel()
      timer?.cancel()
    }
  }

  /// Ends the call on both sides; only the first time counts.
  func settle(_ end: CallEnd, discarding: Bool) {
    let (handler, timer) = state.withLock { state in
      state.isSettled = true
      defer {
        state.handler = nil
        state.timer = nil
      }
      return (state.handler, state.timer)
    }
    responses.finish(end, discarding: discarding)
    requests.finish(.failed(RPCError(.cancelled, "The call has ended.")), discarding: true)
    handler?.cancel()
    timer?.cancel()
  }

  private func run(_ route: Route, _ context: ServerContext, logger: Logger) async -> CallEnd {
    var failure: RPCError?
    do {
      switch route.handler {
      case .unary(let handler):
        let response = try await handler(try await onlyRequest(), context)
        try await write(response, context)
      case .immediate(let handler):
        let response = try handler(try await onlyRequest(), context)
        try await write(response, context)
      case .streaming(let handler):
        try await handler(
          InProcessRequests(exchange: self),
          InProcessResponses(exchange: self, context: context), context)
        try sendHead(context)
      }
    } catch {
      failure = RPCError(thrownByHandler: error)
      if let cause = failure?.cause {
        logger.log(
          .error, "a handler failed", ["method": context.method.path, "error": cause],
          correlationID: context.correlationID)
      }
    }
    return end(failure, context)
  }

  /// The status with its trailers as the client receives it.
  private func end(_ failure: RPCError?, _ context: ServerContext) -> CallEnd {
    var trailers = context.trailingMetadata
    for entry in failure?.metadata.entries ?? [] { trailers.append(entry) }
    trailers.add("x-correlation-id", context.correlationID)
    do throws(RPCError) {
      let metadata = try InProcessChannel.overTheWire(trailers)
      guard let failure else { return .ok(metadata) }
      var received = RPCError(failure.code, failure.message, metadata: metadata)
      received.encodedStatus = failure.encodedStatus
      return .failed(received)
    } catch {
      return .failed(error)
    }
  }

  private func onlyRequest() async throws -> [UInt8] {
    guard let request = try await nextRequest() else {
      throw RPCError(.internalError, "A unary call has one request message; none came.")
    }
    guard try await nextRequest() == nil else {
      throw RPCError(.internalError, "A unary call has one request message; more came.")
    }
    return request
  }

  // MARK: The handler's side

  func nextRequest() async throws -> [UInt8]? {
    switch await requests.next() {
    case .message(let message):
      guard message.count <= maximumMessageBytes else { throw tooLong(message) }
      return message
    case .end(.ok): return nil
    case .end(.failed): throw CancellationError()
    }
  }

  func write(_ message: [UInt8], _ context: ServerContext) async throws {
    try sendHead(context)
    guard responses.end == nil else { throw CancellationError() }
    guard message.count <= maximumMessageBytes else {
      settle(.failed(tooLong(message)), discarding: false)
      throw CancellationError()
    }
    if !responses.push(message), await responses.waitForRoom() != nil { throw CancellationError() }
  }

  private func sendHead(_ context: ServerContext) throws {
    let isFirst = state.withLock { state in
      defer { state.hasSentHead = true }
      return !state.hasSentHead
    }
    guard isFirst else { return }
    responses.deliver(head: try InProcessChannel.overTheWire(context.initialMetadata))
  }

  private func tooLong(_ message: [UInt8]) -> RPCError {
    RPCError(
      .resourceExhausted,
      "A message of \(message.count) bytes is over the limit of \(maximumMessageBytes) bytes.")
  }
}

/// What a streaming handler reads from.
private final class InProcessRequests: InboundMessages {
  private let exchange: InProcessExchange

  init(exchange: InProcessExchange) {
    self.exchange = exchange
  }

  func next() async throws -> [UInt8]? { try await exchange.nextRequest() }
}

/// What a streaming handler writes to.
private final class InProcessResponses: OutboundMessages {
  private let exchange: InProcessExchange
  private let context: ServerContext

  init(exchange: InProcessExchange, context: ServerContext) {
    self.exchange = exchange
    self.context = context
  }

  func write(_ message: [UInt8]) async throws { try await exchange.write(message, context) }
}
