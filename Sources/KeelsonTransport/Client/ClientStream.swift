import KeelsonCore
import Synchronization

/// One call of a channel, from the caller's thread to the stream on the loop.
///
/// `@unchecked Sendable`: what the caller's side touches is guarded by `outgoing`'s Mutex or is a
/// ``MessageQueue``; the rest is confined to the channel's loop.
final class ClientStream: @unchecked Sendable {
  typealias UnaryWaiter = Waiter<Result<UnaryReply, RPCError>>

  let core: ChannelCore
  let method: MethodDescriptor
  let options: CallOptions
  let deadline: Deadline?
  /// The response of a streaming call. A unary call, which has a waiter instead, leaves it empty.
  let responses: MessageQueue

  // MARK: Guarded by the Mutex

  private struct Outgoing {
    /// Messages that have not been handed to the stream.
    var messages: [[UInt8]] = []
    var bytes = 0
    var isFinished = false
    /// Whether the loop will look here anyhow.
    var isDrainPending = false
    /// Whether the stream's own queue is over its watermark.
    var isBlocked = false
    var end: CallEnd?
    var waiter: Waiter<CallEnd?>?

    mutating func takeWaiterIfRoom(limitBytes: Int) -> Waiter<CallEnd?>? {
      guard bytes < limitBytes, !isBlocked else { return nil }
      defer { waiter = nil }
      return waiter
    }
  }
  private let outgoing = Mutex(Outgoing())
  /// A sender waits once this much has not been handed to the stream.
  private static let outgoingLimitBytes = 64 * 1024
  /// Header blocks over 64 KiB cannot be sent; the rest is for the fields of the protocol's own.
  private static let metadataLimitBytes = 56 * 1024

  // MARK: Confined to the loop

  /// Where the call stands in the channel's list; nil before it has begun and once it has ended.
  var index: Int?
  /// Whether the call stands in the channel's queue for a connection.
  var isWaiting = false
  private(set) var hasEnded = false
  private var hasBegun = false
  /// Whether the caller cancelled before the call had entered the channel.
  private var isCancelledEarly = false
  private var reader: ClientCallStateMachine
  private var stream: HTTP2Stream?
  private var timer: Loop.Timer?
  private var metadataFields: [(name: String, value: String)] = []
  private let credit: ReceiveCredit
  private let isUnary: Bool

  /// What has been sent, to be sent again if the server refuses the stream unprocessed.
  private var replay: [[UInt8]] = []
  private var replayBytes = 0
  private var isReplayable = true
  private var hasRetried = false
  private var hasFinishedSending = false

  private var unaryWaiter: UnaryWaiter?
  private var unaryHead: Metadata = [:]
  private var unaryMessage: [UInt8]?
  private var hasTooManyMessages = false

  /// A streaming call, or a unary one when there is its one request.
  init(
    _ core: ChannelCore, _ method: MethodDescriptor, request: [UInt8]? = nil,
    _ options: CallOptions
  ) {
    self.core = core
    self.method = method
    self.options = options
    let credit = ReceiveCredit(loop: core.loop)
    self.credit = credit
    responses = MessageQueue(limitBytes: core.configuration.responseQueueBytes) {
      credit.queueHasRoom()
    }
    deadline = Self.deadline(method, options, core.configuration)
    reader = ClientCallStateMachine(
      maximumMessageBytes: core.configuration.maximumResponseBytes)
    if let request {
      isUnary = true
      replay = [request]
      hasFinishedSending = true
    } else {
      isUnary = false
    }
  }

  private static func deadline(
    _ method: MethodDescriptor, _ options: CallOptions, _ configuration: ChannelConfiguration
  ) -> Deadline? {
    let timeout = options.timeout ?? (method.kind == .unary ? configuration.unaryTimeout : nil)
    return timeout.map { Deadline(after: min($0, .seconds(100 * 365 * 86_400))) }
  }
}

// MARK: - The caller's side, on any thread

extension ClientStream {
  /// Lets the call enter its channel.
  ///
  /// - Parameter waiter: who waits for a unary call's reply.
  func start(_ waiter: UnaryWaiter? = nil) {
    unaryWaiter = waiter
    if !core.loop.tryRun({ [self] in core.begin(self) }) {
      // The loop has ended, so nothing else touches this call.
      end(
        .failed(RPCError(.unavailable, "The channel's event loop was stopped.")),
        discarding: true)
    }
  }

  /// Queues a message and returns once there is room for another.
  func send(_ message: [UInt8]) async throws(RPCError) {
    let (end, mustPost, mustWait) = outgoing.withLock { state -> (CallEnd?, Bool, Bool) in
      if let end = state.end { return (end, false, false) }
      guard !state.isFinished else {
        let error = RPCError(.internalError, "A message was sent after finishSending().")
        return (.failed(error), false, false)
      }
      state.messages.append(message)
      state.bytes += message.count + MessageDeframer.prefixBytes
      defer { state.isDrainPending = true }
      return (nil, !state.isDrainPending, state.bytes >= Self.outgoingLimitBytes || state.isBlocked)
    }
    if let end { throw Self.sendError(end) }
    if mustPost { core.loop.run { [self] in drain() } }
    guard mustWait else { return }
    let later = await withTaskCancellationHandler {
      await Waiter<CallEnd?>.wait { waiter in
        let answer: CallEnd?? = outgoing.withLock { state in
          if let end = state.end { return .some(end) }
          if state.bytes < Self.outgoingLimitBytes, !state.isBlocked { return .some(nil) }
          precondition(state.waiter == nil, "two tasks send on the same call")
          state.waiter = waiter
          return nil
        }
        if let answer { waiter.resume(returning: answer) }
      }
    } onCancel: {
      cancel()
    }
    if let later { throw Self.sendError(later) }
  }

  func finishSending() {
    let mustPost = outgoing.withLock { state in
      guard !state.isFinished, state.end == nil else { return false }
      state.isFinished = true
      defer { state.isDrainPending = true }
      return !state.isDrainPending
    }
    if mustPost { core.loop.run { [self] in drain() } }
  }

  /// Ends the call unless it has ended.
  func cancel() {
    core.loop.run { [self] in
      if hasBegun {
        end(.failed(.cancelledByCaller), discarding: true)
      } else {
        isCancelledEarly = true
      }
    }
  }

  private static func sendError(_ end: CallEnd) -> RPCError {
    end.error ?? RPCError(.internalError, "The server has ended the call with OK already.")
  }
}

// MARK: - On the loop

extension ClientStream {
  /// Looks whether the call may begin at all; false when it has ended.
  func prepare() -> Bool {
    hasBegun = true
    if isCancelledEarly {
      end(.failed(.cancelledByCaller), discarding: true)
      return false
    }
    do throws(RPCError) {
      if !options.metadata.isEmpty {
        var bytes = 0
        try MetadataCodec.encode(options.metadata) { name, value in
          metadataFields.append((name, value))
          bytes += name.utf8.count + value.utf8.count + 32
        }
        guard bytes <= Self.metadataLimitBytes else {
          throw RPCError(
            .internalError,
            "The call's metadata would have \(bytes) bytes in HTTP/2, over the limit of "
              + "\(Self.metadataLimitBytes).")
        }
      }
    } catch {
      end(.failed(error), discarding: true)
      return false
    }
    guard let deadline else { return true }
    let remaining = deadline.remaining
    guard remaining > .zero else {
      end(.failed(.deadlinePassed), discarding: true)
      return false
    }
    timer = core.loop.schedule(after: remaining) { [self] in
      timer = nil
      deadlinePassed()
    }
    return true
  }

  private func deadlinePassed() {
    var error = RPCError.deadlinePassed
    if isWaiting {
      let reason = core.lastConnectionError.map { ": \($0.message)" } ?? "."
      error.message = "The call's deadline passed before there was a connection\(reason)"
    }
    end(.failed(error), discarding: true)
  }

  /// Begins on a connection; false when the connection takes no more calls.
  func open(on connection: HTTP2Connection) -> Bool {
    guard !hasEnded else { return true }
    guard let stream = connection.openStream(requestFields(), handler: self) else { return false }
    self.stream = stream
    credit.stream = stream
    for message in replay { stream.send(OutgoingMessage(message)) }
    if hasFinishedSending { stream.finish() }
    if !isUnary { drain() }
    return true
  }

  private func requestFields() -> HTTP2Fields {
    var fields = HTTP2Fields()
    fields.append(":method", "POST")
    fields.append(":scheme", "http")
    fields.append(":path", method.path)
    fields.append(":authority", core.target.authority)
    fields.append("te", "trailers")
    fields.append("content-type", "application/grpc")
    fields.append("user-agent", core.configuration.userAgent)
    if let deadline {
      fields.append("grpc-timeout", GRPCTimeout.format(deadline.remaining), isIndexed: false)
    }
    for (name, value) in metadataFields { fields.append(name, value, isIndexed: false) }
    return fields
  }

  /// Hands what the caller sent to the stream.
  private func drain() {
    guard !hasEnded, let stream else {
      // Opening the stream, if that still comes, looks here again.
      outgoing.withLock { $0.isDrainPending = false }
      return
    }
    let (messages, isFinished) = outgoing.withLock { state in
      state.isDrainPending = false
      defer { state.messages = [] }
      return (state.messages, state.isFinished)
    }
    var bytes = 0
    for message in messages {
      bytes += message.count + MessageDeframer.prefixBytes
      stream.send(OutgoingMessage(message))
      keepForReplay(message)
    }
    if isFinished, !hasFinishedSending {
      hasFinishedSending = true
      stream.finish()
    }
    let isBlocked = !stream.isWritable
    let waiter = outgoing.withLock { state in
      state.bytes -= bytes
      state.isBlocked = isBlocked
      return state.takeWaiterIfRoom(limitBytes: Self.outgoingLimitBytes)
    }
    waiter?.resume(returning: nil)
  }

  private func keepForReplay(_ message: [UInt8]) {
    guard isReplayable else { return }
    replayBytes += message.count
    if replayBytes > core.configuration.replayBytes {
      forgetReplay()
    } else {
      replay.append(message)
    }
  }

  /// The server has begun to answer, or too much was sent: the call cannot be repeated.
  private func forgetReplay() {
    isReplayable = false
    replay = []
  }

  /// Ends the call; only the first time counts.
  ///
  /// - Parameters:
  ///   - discarding: whether messages the reader has not taken are dropped.
  ///   - errorCode: what the stream is reset with, if it is still open.
  func end(_ end: CallEnd, discarding: Bool, reset errorCode: HTTP2ErrorCode = .cancel) {
    guard !hasEnded else { return }
    hasEnded = true
    if let timer { core.loop.cancel(timer) }
    timer = nil
    if let stream {
      self.stream = nil
      credit.stream = nil
      stream.handler = nil
      stream.reset(errorCode)
    }
    forgetReplay()
    let sender = outgoing.withLock { state in
      state.end = end
      state.messages = []
      defer { state.waiter = nil }
      return state.waiter
    }
    sender?.resume(returning: end)
    responses.finish(end, discarding: discarding)
    if let waiter = unaryWaiter {
      unaryWaiter = nil
      waiter.resume(returning: unaryResult(end))
    }
    if hasBegun { core.ended(self) }
  }

  private func unaryResult(_ end: CallEnd) -> Result<UnaryReply, RPCError> {
    switch end {
    case .failed(let error): return .failure(error)
    case .ok(let trailers):
      guard let message = unaryMessage else {
        return .failure(
          RPCError(.internalError, "The server ended a unary call with OK but sent no message."))
      }
      return .success(
        UnaryReply(message: message, initialMetadata: unaryHead, trailingMetadata: trailers))
    }
  }
}

// MARK: - What the stream tells

extension ClientStream: HTTP2StreamHandler {
  func stream(_ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool) {
    forgetReplay()
    if isTooLarge { return endForTooManyHeaders() }
    switch reader.head(fields) {
    case nil: break
    case .metadata(let metadata):
      if isUnary { unaryHead = metadata } else { responses.deliver(head: metadata) }
    case .end(let how):
      end(how, discarding: false)
    }
  }

  func stream(_ stream: HTTP2Stream, receivedData bytes: [UInt8]) {
    let failure = reader.data(bytes.span) { message in
      if !isUnary {
        credit.isWithheld = !responses.push(message)
      } else if unaryMessage == nil {
        unaryMessage = message
      } else {
        hasTooManyMessages = true
      }
    }
    credit.received(bytes.count)
    if let failure {
      end(failure, discarding: false)
    } else if hasTooManyMessages {
      let error = RPCError(
        .internalError, "The server sent more than one message on a unary call.")
      end(.failed(error), discarding: true)
    }
  }

  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {
    if isTooLarge { return endForTooManyHeaders() }
    if let how = reader.trailers(fields) { end(how, discarding: false, reset: .noError) }
  }

  func streamReceivedEnd(_ stream: HTTP2Stream) {
    if let how = reader.endOfStream() { end(how, discarding: false) }
  }

  func streamBecameWritable(_ stream: HTTP2Stream) {
    let waiter = outgoing.withLock { state in
      state.isBlocked = false
      return state.takeWaiterIfRoom(limitBytes: Self.outgoingLimitBytes)
    }
    waiter?.resume(returning: nil)
  }

  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?
  ) {
    guard !hasEnded else { return }
    self.stream = nil
    credit.stream = nil
    if errorCode == .refusedStream, isReplayable, !hasRetried {
      hasRetried = true
      core.submit(self)
    } else if let connectionReason {
      let error = RPCError(
        .unavailable, "\(core.target): the connection was lost: \(connectionReason.message)")
      if let how = reader.abandon(error) { end(how, discarding: false) }
    } else {
      let isLate = deadline.map { $0.remaining <= .zero } ?? false
      if let how = reader.reset(errorCode: errorCode, deadlineHasPassed: isLate) {
        end(how, discarding: false)
      }
    }
  }

  private func endForTooManyHeaders() {
    let error = RPCError(
      .resourceExhausted,
      "The server's headers are over the limit of "
        + "\(HTTP2Limits.client.maximumHeaderListBytes) bytes.")
    if let how = reader.abandon(error) { end(how, discarding: false) }
  }
}
