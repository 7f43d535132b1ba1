import KeelsonCore

// What a request may take of the server's memory and time before its handler has it.

extension ServerCall {
  /// Counts the call among those that run, unless there is no room for it; then why.
  func overload() -> RPCError? {
    guard origin.runningCalls < server.configuration.maximumRunningCallsPerConnection else {
      return server.connectionOverloaded
    }
    guard !isSendQueueFull else { return server.sendQueueFull }
    return server.admitCall() ? nil : server.overloaded
  }

  /// Whether so much waits to be sent on this connection, or on all of them and this one has its
  /// part in it, that answers to new calls could pile up.
  var isSendQueueFull: Bool {
    guard let queued = unsafe stream.connection?.queuedBytes, queued > 0 else { return false }
    let limit = server.configuration.http2.connectionSendQueueBytes
    return queued > (loop.queuedBytes > home.sendQueueBytes ? limit / 64 : limit)
  }

  /// Counts what is held of the request, after it has grown or the handler has taken some.
  func accountForRequest() {
    let held = deframer.heldBytes + state.heldBytes + inbound.bytes
    let growth = held - heldBytes
    heldBytes = held
    origin.heldRequestBytes += growth
    home.heldRequestBytes += growth
    guard growth > 0 else { return }
    // When all connections together hold too much, those that have a part in it have to let go.
    let limit = server.configuration.connectionRequestBufferBytes
    guard
      origin.heldRequestBytes
        > (home.heldRequestBytes > home.requestBufferBytes ? limit / 64 : limit)
    else { return }
    fail(server.requestBufferFull)
  }

  /// Has the call fail if what its peer has begun to send does not become whole in time: a
  /// message, and for a unary call the request.
  func watchRequest() {
    guard state.isRequestOpen, entry.isUnary || deframer.isInsideMessage else {
      requestBegan = nil
      return
    }
    if requestBegan == nil { requestBegan = loop.now }
    guard requestTimer == nil else { return }
    scheduleRequestTimer(after: server.configuration.requestMessageTimeout.wholeMilliseconds)
  }

  private func scheduleRequestTimer(after delay: UInt64) {
    requestTimer = loop.schedule(afterMilliseconds: delay) { [self] in
      requestTimer = nil
      guard let began = requestBegan else { return }
      let limit = server.configuration.requestMessageTimeout.wholeMilliseconds
      let due = began &+ limit
      guard due <= loop.now else { return scheduleRequestTimer(after: due - loop.now) }
      fail(
        RPCError(
          .deadlineExceeded,
          "The request's message was not complete within "
            + "\(server.configuration.requestMessageTimeout)."))
    }
  }

  /// The request is of no interest any more.
  func releaseRequest() {
    origin.heldRequestBytes -= heldBytes
    home.heldRequestBytes -= heldBytes
    heldBytes = 0
    requestBegan = nil
    if let timer = requestTimer { loop.cancel(timer) }
    requestTimer = nil
  }
}
