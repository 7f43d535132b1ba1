import KeelsonCore
import Synchronization

extension ClientStream: HTTP2StreamHandler {
  func stream(_ stream: HTTP2Stream, receivedHeaders fields: HTTP2Fields, isTooLarge: Bool) {
    if isTooLarge { return endForTooManyHeaders() }
    switch reader.head(fields) {
    case nil: break
    case .metadata(let metadata):
      commit()
      if let responses {
        responses.deliver(head: showingAttempts(metadata))
      } else {
        unaryHead = showingAttempts(metadata)
      }
    case .end(let how): attemptEnded(how, reset: stream.arrived.end ? .noError : .cancel)
    }
  }

  func stream(_ stream: HTTP2Stream, receivedData bytes: Span<UInt8>) {
    let failure = reader.data(bytes) { message, limit throws(RPCError) in
      try core.loop.compression.inflate(message, maximumBytes: limit)
    } deliver: { message in
      if let responses {
        credit?.isWithheld = !responses.push(message)
      } else if unaryMessage == nil {
        unaryMessage = message
      } else {
        hasTooManyMessages = true
      }
    }
    if let credit { credit.received(bytes.count) } else { stream.consume(bytes.count) }
    if let failure {
      attemptEnded(failure)
    } else if hasTooManyMessages {
      let error = RPCError(
        .internalError, "The server sent more than one message on a unary call.")
      end(.failed(error), discarding: true)
    }
  }

  func stream(_ stream: HTTP2Stream, receivedTrailers fields: HTTP2Fields, isTooLarge: Bool) {
    if isTooLarge { return endForTooManyHeaders() }
    if let how = reader.trailers(fields) { attemptEnded(how, reset: .noError) }
  }

  func streamReceivedEnd(_ stream: HTTP2Stream) {
    if let how = reader.endOfStream() { attemptEnded(how) }
  }

  func streamBecameWritable(_ stream: HTTP2Stream) {
    let waiter = outgoing.withLock { state in
      state.isBlocked = false
      return state.takeWaiterIfRoom()
    }
    waiter?.resume(returning: nil)
  }

  func stream(
    _ stream: HTTP2Stream, closedWith errorCode: HTTP2ErrorCode,
    connectionReason: HTTP2CloseReason?
  ) {
    guard !hasEnded else { return }
    self.stream = nil
    credit?.stream = nil
    let reach: RetryStateMachine.Reach =
      if errorCode == .refusedStream { .refused } else if stream.hasLeft { .perhapsSeen } else {
        .notSent
      }
    if let connectionReason {
      let error = RPCError(
        .unavailable, "\(core.target): the connection was lost: \(connectionReason.message)")
      if let how = reader.abandon(error) { attemptEnded(how, reach) }
    } else {
      let isLate = deadline.map { $0.remaining <= .zero } ?? false
      if let how = reader.reset(errorCode: errorCode, deadlineHasPassed: isLate) {
        attemptEnded(how, reach)
      }
    }
  }

  private func attemptEnded(
    _ how: CallEnd, _ reach: RetryStateMachine.Reach = .perhapsSeen,
    reset errorCode: HTTP2ErrorCode = .cancel
  ) {
    switch how {
    case .ok: end(how, discarding: false, reset: errorCode)
    case .failed(let error): attemptFailed(error, reach, reset: errorCode)
    }
  }

  private func endForTooManyHeaders() {
    let error = RPCError(
      .resourceExhausted,
      "The server's headers are over the limit of "
        + "\(HTTP2Limits.client.maximumHeaderListBytes) bytes.")
    if let how = reader.abandon(error) { attemptEnded(how) }
  }
}
