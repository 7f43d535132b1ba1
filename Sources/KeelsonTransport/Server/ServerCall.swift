import KeelsonCore

/// One call on the server: reads its request from an HTTP/2 stream, runs the route's handler as a
/// task on the loop, and writes the response.
///
/// `@unchecked Sendable`: touched on the connection's loop only; ``next()`` and ``write(_:)``,
/// which a handler may call from anywhere, go there first. `@exclusivity(unchecked)`: see
/// ``HTTP2Connection``.
final class ServerCall: HTTP2StreamHandler, @unchecked Sendable {
  let loop: Loop
  let server: ServerCore
  let home: ServerLoop
  /// Where it came from.
  let origin: ServerConnection
  let stream: HTTP2Stream
  let context: ServerContext
  let entry: Router.Entry
  let encodings: CallEncodings
  private let timeout: Duration?

  @safe @exclusivity(unchecked) var state: ServerCallState
  @safe @exclusivity(unchecked) private(set) var deframer: MessageDeframer
  @safe @exclusivity(unchecked) var inbound = InboundQueue()
  @safe @exclusivity(unchecked) var writers = WaitingWriters()
  @safe @exclusivity(unchecked) private var task: Task<Void, Never>?
  @safe @exclusivity(unchecked) private var deadlineTimer: Loop.Timer?
  /// Bytes of the request that are held and that its handler has not taken.
  @safe @exclusivity(unchecked) var heldBytes = 0
  /// Since when a message, or a unary call's request, is incomplete.
  @safe @exclusivity(unchecked) var requestBegan: UInt64?
  @safe @exclusivity(unchecked) var requestTimer: Loop.Timer?
  /// Why the status is not OK, or the handler was told to stop; what it waits for throws this.
  @safe @exclusivity(unchecked) private(set) var failure: RPCError?

  private let startedAt: UInt64
  @safe @exclusivity(unchecked) private var statusCode = RPCError.Code.cancelled
  @safe @exclusivity(unchecked) private var receivedBytes = 0
  @safe @exclusivity(unchecked) private var sentBytes = 0
  @safe @exclusivity(unchecked) private var isCounted = false
  /// How many interceptors the call has gone through; nil before it began, and once it has ended.
  @safe @exclusivity(unchecked) private var begunInterceptors: Int?
  /// Whether the response's headers have named gzip.
  @safe @exclusivity(unchecked) private var mayCompress = false

  /// - Parameter refusal: why the call is refused as soon as it begins.
  init(
    server: ServerCore, home: ServerLoop, origin: ServerConnection, stream: HTTP2Stream,
    context: ServerContext, entry: Router.Entry, encodings: CallEncodings, timeout: Duration?,
    refusal: RPCError?
  ) {
    self.server = server
    self.home = home
    self.origin = origin
    loop = home.loop
    self.stream = stream
    self.context = context
    self.entry = entry
    self.encodings = encodings
    self.timeout = timeout
    failure = refusal
    state = ServerCallState(
      isUnary: entry.isUnary, mayBeCompressed: encodings.request != .identity)
    deframer = MessageDeframer(
      maximumMessageBytes: server.configuration.maximumRequestMessageBytes)
    startedAt = loop.now
  }

  /// Begins the call. What a unary handler gets is gathered first. A call that is refused begins
  /// too: interceptors hear of it.
  func streamBegan(_ stream: HTTP2Stream) {
    begunInterceptors = entry.interceptorCount
    for (position, begin) in entry.begins {
      do throws(RPCError) {
        try begin(context)
      } catch {
        begunInterceptors = position
        return refuse(error)
      }
    }
    if let failure { return refuse(failure) }
    if let overload = overload() {
      home.logOverload(overload, peer: context.peer)
      return refuse(overload)
    }
    isCounted = true
    origin.runningCalls += 1
    home.callBegan()
    if let timeout {
      guard timeout > .zero else {
        _ = state.handlerEnded()
        return deadlinePassed()
      }
      deadlineTimer = loop.schedule(after: timeout) { [self] in
        deadlineTimer = nil
        deadlinePassed()
      }
    }
    if entry.isUnary, !stream.arrived.end { watchRequest() }
    if case .streaming(let handler) = entry.handler {
      task = Task(executorPreference: loop) { [self] in
        do {
          try await handler(self, self, context)
          handlerEnded(nil)
        } catch {
          handlerEnded(error)
        }
      }
    }
  }

  // MARK: From the stream

  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {}

  func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>) {
    guard !state.isFinished else { return stream.consume(bytes.count) }
    var failure: RPCError?
    var delivered = 0
    do throws(RPCError) {
      try deframer.read(bytes) { message, isCompressed in
        guard failure == nil else { return }
        receivedBytes += message.count
        let message = ReceivedMessage(bytes: message, isCompressed: isCompressed)
        switch state.received(message) {
        case .keep, .drop: break
        case .deliver(let message):
          delivered += 1
          inbound.append(message)
        case .fail(let error): failure = error
        }
      }
    } catch {
      failure = error
    }
    if let failure {
      stream.consume(bytes.count)
      return fail(failure)
    }
    if delivered > 0 {
      // Consumed when the handler takes the last of these messages: backpressure.
      inbound.addCredit(bytes.count)
      deliverInbound()
    } else {
      // Part of a message, whose size is limited: it has to come whole before anybody reads it.
      stream.consume(bytes.count)
    }
    // A small unary request comes whole, in one piece with its end: nothing to account for.
    if !entry.isUnary || !stream.arrived.end { requestGrew(isNext: delivered > 0) }
  }

  private func requestGrew(isNext: Bool) {
    if isNext { requestBegan = nil }
    accountForRequest()
    if !state.isFinished { watchRequest() }
  }

  func streamReceivedEnd(_ stream: HTTP2Stream) {
    switch state.receivedEnd(isInsideMessage: deframer.isInsideMessage) {
    case .startUnary(let message):
      releaseRequest()
      startUnary(message)
    case .deliverEnd:
      requestBegan = nil
      inbound.end()
      deliverInbound()
    case .fail(let error): fail(error)
    case .drop: break
    }
  }

  func streamBecameWritable(_ stream: HTTP2Stream) {
    writers.resumeAll()
  }

  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?
  ) {
    if state.closed() == .cancelHandler {
      stopHandler(RPCError(.cancelled, "The caller cancelled the call or went away."))
    } else {
      end()
    }
  }

  private func startUnary(_ received: ReceivedMessage) {
    let message: [UInt8]
    do throws(RPCError) {
      message = try inflated(received)
    } catch {
      // The call has failed by that, and nothing will report the handler's end.
      _ = state.handlerEnded()
      return end()
    }
    switch entry.handler {
    case .immediate(let handler):
      do {
        handlerReplied(try handler(message, context))
      } catch {
        handlerEnded(error)
      }
    case .unary(let handler):
      // Most handlers end without a wait: those run here and now, without a turn in the queue.
      let task = Task.immediate(executorPreference: loop) { [self] in
        do {
          handlerReplied(try await handler(message, context))
        } catch {
          handlerEnded(error)
        }
      }
      if state.isHandlerRunning { self.task = task }
    case .streaming: break
    }
  }

  // Not inlined, so that what they need does not enlarge the frame of each call's task.
  @inline(never)
  private func handlerReplied(_ reply: [UInt8]) {
    guard !state.isFinished else { return handlerEnded(nil) }
    // Calls that began together can all end together.
    guard !isSendQueueFull else { return handlerEnded(server.answerDropped) }
    send(reply)
    handlerEnded(nil)
  }

  @inline(never)
  private func handlerEnded(_ error: (any Error)?) {
    // A handler that heeds no cancellation may outlive the loop; its task then ends elsewhere.
    assert(loop.isCurrent || loop.hasEnded, "a handler's task runs on its loop")
    guard state.handlerEnded() else { return }
    task = nil
    switch error {
    case nil: sendStatus(nil)
    case let error as RPCError: sendStatus(error)
    case is CancellationError:
      sendStatus(RPCError(.cancelled, "The handler was cancelled."))
    case let error?:
      server.logger.log(
        .error, "A handler failed: \(error)", ["method": context.method.path],
        correlationID: context.correlationID)
      sendStatus(
        RPCError(
          .unknown, "The server failed to handle the call; its log has the reason.",
          cause: String(describing: error)))
    }
    end()
  }

  // MARK: Ends

  /// The caller has stopped waiting, so the stream is reset, without a status.
  /// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Client Cancellation".
  private func deadlinePassed() {
    guard !state.isFinished else { return }
    let error = RPCError(.deadlineExceeded, "The call's deadline passed.")
    cutOff(error)
    stopOrEnd(error)
  }

  /// Fails a call before its handler has begun: nothing will report the handler's end.
  private func refuse(_ error: RPCError) {
    _ = state.handlerEnded()
    fail(error)
  }

  /// Ends the call with a status of the transport's own; a handler that runs is cancelled.
  func fail(_ error: RPCError) {
    guard !state.isFinished else { return }
    if stream.queuedBytes > 0 {
      // The caller does not read: it would not see a status behind what is queued either.
      cutOff(error)
    } else {
      sendStatus(error)
    }
    stopOrEnd(error)
  }

  /// Ends the response where it is, without a status for the caller.
  private func cutOff(_ error: RPCError) {
    statusCode = error.code
    failure = error
    _ = state.finish(needsHeaders: false)
    stream.reset(.cancel)
  }

  private func stopOrEnd(_ error: RPCError) {
    if state.isHandlerRunning { stopHandler(error) } else { end() }
  }

  private func stopHandler(_ error: RPCError) {
    if failure == nil { failure = error }
    task?.cancel()
    inbound.fail(error)
    releaseRequest()
    writers.failAll(error)
    if let timer = deadlineTimer { loop.cancel(timer) }
    deadlineTimer = nil
  }

  /// Both the handler and the response are done, or never were.
  private func end() {
    guard !state.isHandlerRunning else { return }
    if let timer = deadlineTimer { loop.cancel(timer) }
    deadlineTimer = nil
    releaseRequest()
    if !entry.isUnary { inbound.fail(RPCError(.cancelled, "The call has ended.")) }
    tellInterceptors()
    guard isCounted else { return }
    isCounted = false
    server.callEnded()
    origin.runningCalls -= 1
    home.callEnded()
  }

  private func tellInterceptors() {
    guard let begunInterceptors else { return }
    self.begunInterceptors = nil
    guard !entry.ends.isEmpty else { return }
    let failure = statusCode == .ok ? nil : failure
    let summary = CallSummary(
      code: statusCode, duration: .milliseconds(Int64(loop.now - min(loop.now, startedAt))),
      receivedBytes: receivedBytes, sentBytes: sentBytes, wasRefused: !isCounted,
      message: failure?.message ?? "", cause: failure?.cause)
    for (position, end) in entry.ends where position < begunInterceptors { end(context, summary) }
  }

  // MARK: The response

  /// Queues a message, after the headers if it is the first. False when the call has ended.
  @discardableResult
  func send(_ message: [UInt8]) -> Bool {
    switch state.write() {
    case .sendHeadersAndMessage: sendInitialHeaders()
    case .sendMessage: break
    case .refuse: return false
    }
    sentBytes += message.count
    stream.send(outgoing(message))
    return true
  }

  private func outgoing(_ message: [UInt8]) -> OutgoingMessage {
    guard mayCompress, message.count >= server.configuration.compressionThresholdBytes,
      wantsCompression, let deflated = loop.compression.deflate(message)
    else { return OutgoingMessage(message) }
    return OutgoingMessage(deflated, isCompressed: true)
  }

  private var wantsCompression: Bool {
    switch context.responseCompression {
    case .automatic: encodings.request == .gzip
    case .on: true
    case .off: false
    }
  }

  private func sendInitialHeaders() {
    if encodings.acceptsGzip { mayCompress = wantsCompression }
    guard encodings.areNamed || context.hasInitialMetadata else {
      return stream.sendHeaders(ResponseFields.plainInitial)
    }
    stream.sendHeaders(
      ResponseFields.initial(
        context, namesEncodings: encodings.areNamed, isGzip: mayCompress, server.logger,
        limitBytes: server.configuration.http2.maximumHeaderListBytes))
  }

  /// Sends the status; nil is OK.
  private func sendStatus(_ error: RPCError?) {
    let action = state.finish(needsHeaders: error == nil || context.hasInitialMetadata)
    guard action != .drop else { return }
    statusCode = error?.code ?? .ok
    failure = error
    let status = ResponseFields.Status(
      error: error.map(server.encoded), context: context, namesEncodings: encodings.areNamed,
      limits: ResponseFields.Limits(server.configuration))
    switch action {
    case .sendTrailersOnly:
      stream.sendHeaders(status.trailersOnly(server.logger), endStream: true)
    case .sendHeadersAndTrailers:
      sendInitialHeaders()
      stream.finish(trailers: status.trailers(in: stream.emptyFields(), server.logger))
    case .sendTrailers:
      stream.finish(trailers: status.trailers(in: stream.emptyFields(), server.logger))
    case .drop: break
    }
  }
}
