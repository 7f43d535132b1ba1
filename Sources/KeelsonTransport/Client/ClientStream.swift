import KeelsonCore
import Synchronization

/// One call of a channel, from the caller's thread to the stream on the loop, or to one stream
/// after the other when it is tried again.
///
/// `@unchecked Sendable`: what the caller's side touches is guarded by `outgoing`'s Mutex or is a
/// ``MessageQueue``; the rest is confined to the channel's loop.
final class ClientStream: @unchecked Sendable {
  typealias UnaryWaiter = Waiter<Result<UnaryReply, RPCError>>

  /// Header blocks over 64 KiB cannot be sent; the rest is for the fields of the protocol's own.
  private static let metadataLimitBytes = 56 * 1024

  let core: ChannelCore
  let method: MethodDescriptor
  let options: CallOptions
  private let start = ContinuousClock.now
  /// The response of a streaming call; nil for a unary call, which has a waiter instead.
  let responses: MessageQueue?
  let credit: ReceiveCredit?
  /// The caller's messages. A unary call has its one in `replay`.
  let outgoing = Mutex(SendQueue())

  // Confined to the loop.

  /// Where the call stands in the channel's list; nil before it has begun and once it has ended.
  var index: Int?
  /// Whether the call stands in the channel's queue for a connection.
  private var isWaiting = false
  private(set) var hasEnded = false
  private(set) var hasBegun = false
  /// Whether the caller cancelled before the call had entered the channel.
  var isCancelledEarly = false
  private var plan: MethodPlan?
  private(set) var deadline: Deadline?
  private var deadlineTimer: Loop.Timer?
  private var readyTimer: Loop.Timer?
  /// When the call first waited for a connection.
  private var waitBegan: UInt64?
  private var retryTimer: Loop.Timer?
  private var metadataFields: [(name: String, value: String)] = []
  private var retry = RetryStateMachine(policy: nil, repeatsWhatWasSeen: false)

  // Of the attempt under way.
  var stream: HTTP2Stream?
  var reader: ClientCallStateMachine
  var unaryHead: Metadata = [:]
  var unaryMessage: [UInt8]?
  var hasTooManyMessages = false

  /// What has been sent, to be sent again by another attempt.
  private var replay: [OutgoingMessage] = []
  private var replayBytes = 0
  private var hasFinishedSending = false

  var unaryWaiter: UnaryWaiter?
  private var unaryRequest: [UInt8]?

  var isUnary: Bool { responses == nil }

  /// A unary call.
  init(
    _ core: ChannelCore, _ method: MethodDescriptor, request: [UInt8], _ options: CallOptions
  ) {
    self.core = core
    self.method = method
    self.options = options
    responses = nil
    credit = nil
    reader = ClientCallStateMachine(maximumMessageBytes: 0)
    unaryRequest = request
    hasFinishedSending = true
  }

  /// A call of any other kind; its responses come into the queue.
  init(
    _ core: ChannelCore, _ method: MethodDescriptor, _ options: CallOptions,
    responses: MessageQueue, credit: ReceiveCredit
  ) {
    self.core = core
    self.method = method
    self.options = options
    self.responses = responses
    self.credit = credit
    reader = ClientCallStateMachine(maximumMessageBytes: 0)
  }

  // MARK: Before there is a connection

  /// Looks whether the call may begin at all; false when it has ended.
  func prepare(_ plan: MethodPlan) -> Bool {
    hasBegun = true
    self.plan = plan
    reader = ClientCallStateMachine(maximumMessageBytes: plan.maximumResponseBytes)
    retry = RetryStateMachine(
      policy: plan.retryPolicy, repeatsWhatWasSeen: plan.repeatsWhatWasSeen)
    if isCancelledEarly {
      end(.failed(.cancelledByCaller), discarding: true)
      return false
    }
    do throws(RPCError) {
      if !options.metadata.isEmpty { try encodeMetadata() }
      if let request = unaryRequest {
        unaryRequest = nil
        replay = [try outgoingMessage(request, isCompressible: true)]
      }
    } catch {
      end(.failed(error), discarding: true)
      return false
    }
    deadline = plan.deadline(options.timeout, from: start)
    guard let deadline else { return true }
    let remaining = deadline.remaining
    guard remaining > .zero else {
      end(.failed(.deadlinePassed), discarding: true)
      return false
    }
    deadlineTimer = core.loop.schedule(after: remaining) { [self] in
      deadlineTimer = nil
      deadlinePassed()
    }
    return true
  }

  private func encodeMetadata() throws(RPCError) {
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

  private func deadlinePassed() {
    var error = RPCError.deadlinePassed
    if isWaiting {
      let reason = core.lastConnectionError.map { ": \($0.message)" } ?? "."
      error.message = "The call's deadline passed before there was a connection\(reason)"
    }
    end(.failed(error), discarding: true)
  }

  var waitsForReady: Bool { options.waitForReady || plan?.waitForReady ?? false }

  /// The call stands in the channel's queue from now on.
  func wait() {
    isWaiting = true
    guard waitsForReady, let limit = options.readyTimeout else { return }
    // From the first wait on, however often the call waits again.
    let began = waitBegan ?? core.loop.now
    waitBegan = began
    let waited = core.loop.now - min(core.loop.now, began)
    let total = limit.wholeMilliseconds
    readyTimer = core.loop.schedule(afterMilliseconds: total - min(total, waited)) { [self] in
      readyTimer = nil
      let reason = core.lastConnectionError.map { ": \($0.message)" } ?? "."
      let error = RPCError(
        .unavailable, "There was no connection within the call's \(limit) of waiting\(reason)")
      end(.failed(error), discarding: true)
    }
  }

  /// The channel has taken the call out of its queue; false when it has ended meanwhile.
  func stopWaiting() -> Bool {
    guard isWaiting else { return false }
    isWaiting = false
    if let readyTimer { core.loop.cancel(readyTimer) }
    readyTimer = nil
    return true
  }

  /// The channel has no connection and does not expect one soon.
  func foundNoConnection(_ error: RPCError) {
    guard core.states.current != .shutdown else {
      return end(.failed(error), discarding: true)
    }
    attemptFailed(error, .noConnection)
  }

  // MARK: Attempts

  /// Begins on a connection; false when the connection takes no more calls.
  func open(on connection: HTTP2Connection) -> Bool {
    guard !hasEnded, let plan else { return true }
    let fields = requestFields(plan)
    let opened = connection.openStream(fields, handler: self)
    core.loop.spareFields.give(consume fields)
    guard let stream = opened else { return false }
    self.stream = stream
    credit?.stream = stream
    for message in replay { stream.send(message) }
    if hasFinishedSending { stream.finish() }
    if !isUnary { drain() }
    return true
  }

  private func requestFields(_ plan: MethodPlan) -> HTTP2Fields {
    var fields = core.loop.spareFields.take()
    fields.set(to: plan.fields)
    if let deadline {
      fields.append("grpc-timeout", GRPCTimeout.format(deadline.remaining), isIndexed: false)
    }
    if compressesRequests { fields.append("grpc-encoding", MessageEncoding.gzip.rawValue) }
    if retry.attempts > 1 {
      fields.append(Self.previousAttempts, String(retry.attempts - 1), isIndexed: false)
    }
    for (name, value) in metadataFields { fields.append(name, value, isIndexed: false) }
    return fields
  }

  /// The attempt has come to nothing: the call is tried again, or that is its end.
  ///
  /// - Parameter errorCode: what the stream is reset with, if it is still open.
  func attemptFailed(
    _ error: RPCError, _ reach: RetryStateMachine.Reach, reset errorCode: HTTP2ErrorCode = .cancel
  ) {
    guard !hasEnded else { return }
    let decision = retry.failed(
      error.code, reach, pushback: RetryStateMachine.Pushback(reader.retryPushback),
      throttle: &core.throttle, using: &core.loop.random)
    switch decision {
    case .end: end(.failed(error), discarding: false, reset: errorCode)
    case .repeatUnseen:
      forgetAttempt(reset: errorCode)
      core.submit(self)
    case .retry(let pause):
      if let deadline, deadline.remaining <= pause {
        // There is no time left for it, so the caller hears at once what is wrong.
        return end(.failed(error), discarding: false, reset: errorCode)
      }
      forgetAttempt(reset: errorCode)
      retryTimer = core.loop.schedule(after: pause) { [self] in
        retryTimer = nil
        if retry.resume() { core.submit(self) }
      }
    }
  }

  private func forgetAttempt(reset errorCode: HTTP2ErrorCode) {
    letGoOfStream(reset: errorCode)
    reader = ClientCallStateMachine(maximumMessageBytes: plan?.maximumResponseBytes ?? 0)
    unaryHead = [:]
    unaryMessage = nil
    hasTooManyMessages = false
  }

  private func letGoOfStream(reset errorCode: HTTP2ErrorCode) {
    guard let stream else { return }
    self.stream = nil
    credit?.stream = nil
    stream.handler = nil
    stream.reset(errorCode)
  }

  /// The server has begun to answer, or too much was sent: the call cannot be repeated.
  func commit() {
    retry.commit()
    replay = []
    if replayBytes > 0 { core.releaseReplay(replayBytes) }
    replayBytes = 0
  }

  // MARK: Sending

  private var compressesRequests: Bool {
    options.compressesRequests ?? core.configuration.compressesRequests
  }

  /// Hands what the caller sent to the stream.
  func drain() {
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
      bytes += message.bytes.count + MessageDeframer.prefixBytes
      do throws(RPCError) {
        let message = try outgoingMessage(message.bytes, isCompressible: message.isCompressible)
        stream.send(message)
        keepForReplay(message)
      } catch {
        return end(.failed(error), discarding: true)
      }
    }
    if isFinished, !hasFinishedSending {
      hasFinishedSending = true
      stream.finish()
    }
    let isBlocked = !stream.isWritable
    let waiter = outgoing.withLock { state in
      state.bytes -= bytes
      state.isBlocked = isBlocked
      return state.takeWaiterIfRoom()
    }
    waiter?.resume(returning: nil)
  }

  private func outgoingMessage(
    _ message: [UInt8], isCompressible: Bool
  ) throws(RPCError) -> OutgoingMessage {
    let limit = plan?.maximumRequestBytes ?? 0
    guard message.count <= limit else {
      throw RPCError(
        .resourceExhausted,
        "A request message of \(message.count) bytes is over the limit of \(limit) bytes.")
    }
    if isCompressible, compressesRequests,
      message.count >= core.configuration.compressionThresholdBytes,
      let compressed = core.loop.compression.deflate(message)
    {
      return OutgoingMessage(compressed, isCompressed: true)
    }
    return OutgoingMessage(message)
  }

  private func keepForReplay(_ message: OutgoingMessage) {
    guard !retry.isCommitted else { return }
    let bytes = message.remainingBytes
    guard replayBytes + bytes <= core.configuration.replayBytes, core.reserveReplay(bytes) else {
      return commit()
    }
    replayBytes += bytes
    replay.append(message)
  }

  // MARK: The end

  /// Ends the call; only the first time counts.
  ///
  /// - Parameters:
  ///   - discarding: whether messages the reader has not taken are dropped.
  ///   - errorCode: what the stream is reset with, if it is still open.
  func end(_ how: CallEnd, discarding: Bool, reset errorCode: HTTP2ErrorCode = .cancel) {
    guard !hasEnded else { return }
    hasEnded = true
    if let deadlineTimer { core.loop.cancel(deadlineTimer) }
    if let readyTimer { core.loop.cancel(readyTimer) }
    if let retryTimer { core.loop.cancel(retryTimer) }
    (deadlineTimer, readyTimer, retryTimer) = (nil, nil, nil)
    letGoOfStream(reset: errorCode)
    if isWaiting {
      isWaiting = false
      core.withdraw(self)
    }
    commit()
    let end = showingAttempts(how)
    if case .ok = end, plan?.retryPolicy != nil { core.throttle?.succeeded() }
    if let responses {
      let sender = outgoing.withLock { state in
        state.end = end
        state.messages = []
        defer { state.waiter = nil }
        return state.waiter
      }
      sender?.resume(returning: end)
      responses.finish(end, discarding: discarding)
    }
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

  // MARK: Attempts, for people to see

  /// Told to the server with each further attempt, and to the caller in the metadata that comes
  /// ahead of the response, or with the error. Source: gRFC A6.
  static let previousAttempts = "grpc-previous-rpc-attempts"

  /// The metadata as the caller gets it.
  func showingAttempts(_ metadata: Metadata) -> Metadata {
    guard retry.attempts > 1 else { return metadata }
    var shown = metadata
    shown.add(Self.previousAttempts, String(retry.attempts - 1))
    return shown
  }

  private func showingAttempts(_ end: CallEnd) -> CallEnd {
    guard retry.attempts > 1, case .failed(var error) = end else { return end }
    error.message += " (after \(retry.attempts) attempts)"
    error.metadata = showingAttempts(error.metadata)
    return .failed(error)
  }
}
