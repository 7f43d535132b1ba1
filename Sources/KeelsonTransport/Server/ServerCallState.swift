import KeelsonCore

/// A message as it came: one that is compressed is inflated when its handler takes it, so that
/// what waits is never more than the peer has sent.
struct ReceivedMessage: Equatable {
  let bytes: [UInt8]
  let isCompressed: Bool
}

/// The course of one call on the server, without I/O: what happened goes in, what to do comes
/// out.
///
/// Two halves that end in any order: the request (open, ended) and the response (nothing sent,
/// headers sent, finished). What is not allowed falls into three kinds:
/// - our own fault (a message after the status): refused, the handler gets an error;
/// - the peer's (two messages on a unary call): the call fails with a status;
/// - a matter of timing (anything after the end): dropped in silence.
struct ServerCallState {
  private enum Request {
    /// Can transition to: ended.
    case open
    case ended
  }

  private enum Response {
    /// Can transition to: headersSent, finished.
    case nothingSent
    /// Can transition to: finished.
    case headersSent
    /// The status is on its way, or the stream is gone.
    case finished
  }

  private enum Handler {
    /// A unary call whose message has not come whole. Can transition to: running, over.
    case waiting
    /// Can transition to: over.
    case running
    case over
  }

  private let isUnary: Bool
  /// Whether a grpc-encoding was named, so that messages may be flagged as compressed.
  private let mayBeCompressed: Bool
  private var request = Request.open
  private var response = Response.nothingSent
  private var handler: Handler
  private var unaryMessage: ReceivedMessage?

  /// A call whose headers have come. The handler of a call that is not unary runs from the start.
  init(isUnary: Bool, mayBeCompressed: Bool) {
    self.isUnary = isUnary
    self.mayBeCompressed = mayBeCompressed
    handler = isUnary ? .waiting : .running
  }

  /// The status is on its way, or the stream is gone.
  var isFinished: Bool { response == .finished }

  /// The handler runs, or has been told to stop and has not yet.
  var isHandlerRunning: Bool { handler == .running }

  // MARK: From the peer

  enum MessageAction: Equatable {
    /// The message waits for the end of the request.
    case keep
    case deliver(ReceivedMessage)
    case fail(RPCError)
    case drop
  }

  mutating func received(_ message: ReceivedMessage) -> MessageAction {
    guard response != .finished, request == .open else { return .drop }
    guard !message.isCompressed || mayBeCompressed else {
      return .fail(
        RPCError(
          .internalError, "A message is flagged as compressed, but no grpc-encoding was named."))
    }
    guard isUnary else { return .deliver(message) }
    guard unaryMessage == nil else {
      return .fail(RPCError(.internalError, "A unary call has one request message; two came."))
    }
    unaryMessage = message
    return .keep
  }

  /// Bytes of the message that waits for the end of its request.
  var heldBytes: Int { unaryMessage?.bytes.count ?? 0 }

  /// Whether the caller may send more of the request, and somebody still wants it.
  var isRequestOpen: Bool { request == .open && response != .finished }

  enum EndAction: Equatable {
    case startUnary(ReceivedMessage)
    case deliverEnd
    case fail(RPCError)
    case drop
  }

  /// - Parameter isInsideMessage: the body ended before its last message did.
  mutating func receivedEnd(isInsideMessage: Bool) -> EndAction {
    guard request == .open else { return .drop }
    request = .ended
    guard response != .finished else { return .drop }
    guard !isInsideMessage else {
      return .fail(RPCError(.internalError, "The request ended in the middle of a message."))
    }
    guard isUnary else { return .deliverEnd }
    guard let message = unaryMessage else {
      return .fail(RPCError(.internalError, "A unary call has one request message; none came."))
    }
    unaryMessage = nil
    handler = .running
    return .startUnary(message)
  }

  enum CloseAction: Equatable {
    /// The caller has gone: stop the handler.
    case cancelHandler
    case nothing
  }

  /// The stream is gone, whoever ended it.
  mutating func closed() -> CloseAction {
    request = .ended
    response = .finished
    unaryMessage = nil
    if handler == .waiting { handler = .over }
    return handler == .running ? .cancelHandler : .nothing
  }

  // MARK: From the handler

  enum WriteAction: Equatable {
    case sendHeadersAndMessage
    case sendMessage
    case refuse
  }

  mutating func write() -> WriteAction {
    switch response {
    case .nothingSent:
      response = .headersSent
      return .sendHeadersAndMessage
    case .headersSent: return .sendMessage
    case .finished: return .refuse
    }
  }

  enum StatusAction: Equatable {
    /// The status goes out in the one and only header block.
    case sendTrailersOnly
    case sendHeadersAndTrailers
    case sendTrailers
    /// The status has been sent, or nobody is there to read it.
    case drop
  }

  /// The call has its status: the handler's, or one of the transport's own.
  ///
  /// - Parameter needsHeaders: whether there is something that only a header block of its own
  ///   can carry.
  mutating func finish(needsHeaders: Bool) -> StatusAction {
    unaryMessage = nil
    if handler == .waiting { handler = .over }
    defer { response = .finished }
    switch response {
    case .nothingSent: return needsHeaders ? .sendHeadersAndTrailers : .sendTrailersOnly
    case .headersSent: return .sendTrailers
    case .finished: return .drop
    }
  }

  /// The handler's task has come to its end; true the first time.
  mutating func handlerEnded() -> Bool {
    defer { handler = .over }
    return handler == .running
  }
}
