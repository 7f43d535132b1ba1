import CNghttp2
import KeelsonCore

// One timer per connection looks at all its time limits. What moves a limit further away only
// changes a number; the timer finds out when it fires.

extension HTTP2Connection {
  /// Begins a graceful shutdown: the peer is told to open no more streams, those that are open
  /// are served to their end, then the connection closes. A second call does nothing.
  /// Source: RFC 9113 section 6.8.
  package func shutDown() {
    guard let session = unsafe session, case .none = shutdownState else { return }
    guard role == .server else {
      shutdownState = .announced
      isGoingAway = true
      submitGoAway(.noError, lastStreamID: 0, debugText: "")
      return
    }
    shutdownState = .warned
    _ = unsafe nghttp2_submit_shutdown_notice(session)
    times.shutdownNoticeSent = loop.now
    // Streams that the peer opened before it saw the warning have arrived when it answers.
    // The connection drops its pings and its timer when it closes, so these references end too.
    ping { [self] _ in announceShutdown() }
    armTimer()
  }

  private func announceShutdown() {
    guard let session = unsafe session, case .warned = shutdownState else { return }
    shutdownState = .announced
    times.shutdownNoticeSent = nil
    submitGoAway(
      .noError, lastStreamID: unsafe nghttp2_session_get_last_proc_stream_id(session),
      debugText: "")
  }

  /// Sets the timer if a limit is nearer than what it is set for.
  func armTimer() {
    guard !isClosed, let due = nextLimit(), due < times.timerDue else { return }
    if let timer = times.timer { loop.cancel(timer) }
    let now = loop.now
    times.timerDue = due
    times.timer = loop.schedule(afterMilliseconds: due > now ? due - now : 0) { [self] in
      times.timer = nil
      times.timerDue = .max
      checkTimes()
      armTimer()
    }
  }

  private func nextLimit() -> UInt64? {
    var next: UInt64?
    func consider(_ since: UInt64?, _ limit: Duration?) {
      guard let since, let limit else { return }
      let due = since &+ limit.wholeMilliseconds
      guard due >= since else { return }
      next = min(next ?? .max, due)
    }
    if !hasReceivedSettings { consider(times.started, limits.prefaceTimeout) }
    consider(times.headersBegan, limits.headersTimeout)
    consider(times.stalledSince, limits.writeTimeout)
    consider(times.stallsWatchedSince, limits.streamStallTimeout)
    consider(times.shutdownNoticeSent, limits.shutdownNoticeTimeout)
    if case .none = shutdownState { consider(times.idleSince, limits.idleTimeout) }
    if let sent = times.keepalivePingSent {
      consider(sent, limits.keepaliveTimeout)
    } else if limits.keepsAliveWithoutStreams || !streams.isEmpty {
      consider(times.lastReceived, limits.keepaliveInterval)
    }
    return next
  }

  private func checkTimes() {
    let now = loop.now
    func isOver(_ since: UInt64?, _ limit: Duration?) -> Bool {
      guard let since, let limit else { return false }
      return now - min(now, since) >= limit.wholeMilliseconds
    }
    if !hasReceivedSettings, isOver(times.started, limits.prefaceTimeout) {
      close(
        HTTP2CloseReason(
          .timedOut, "The peer sent no HTTP/2 preface within \(limits.prefaceTimeout)."),
        errorCode: .settingsTimeout)
    } else if isOver(times.headersBegan, limits.headersTimeout) {
      close(
        HTTP2CloseReason(
          .timedOut, "The peer's headers were not complete within \(limits.headersTimeout)."),
        errorCode: .enhanceYourCalm, debugText: "headers_timeout")
    } else if isOver(times.stalledSince, limits.writeTimeout) {
      byteStream.abort()
      tearDown(
        HTTP2CloseReason(
          .timedOut, "The peer did not read what was sent to it within \(limits.writeTimeout)."))
    } else if isOver(times.keepalivePingSent, limits.keepaliveTimeout) {
      close(
        HTTP2CloseReason(
          .timedOut, "The peer did not answer a ping within \(limits.keepaliveTimeout)."),
        errorCode: .noError, debugText: "keepalive_timeout")
    } else {
      if isOver(times.shutdownNoticeSent, limits.shutdownNoticeTimeout) { announceShutdown() }
      if isOver(times.idleSince, limits.idleTimeout) { shutDown() }
      if isOver(times.stallsWatchedSince, limits.streamStallTimeout) { resetStalledStreams() }
      if times.keepalivePingSent == nil, isOver(times.lastReceived, limits.keepaliveInterval),
        limits.keepsAliveWithoutStreams || !streams.isEmpty
      {
        times.keepalivePingSent = now
        ping { [self] _ in times.keepalivePingSent = nil }
      }
    }
  }

  /// Begins to look for streams that stall, if something waits to be sent and nobody does yet.
  func watchForStalls() {
    guard times.stallsWatchedSince == nil, streamsWithQueuedBytes > 0,
      limits.streamStallTimeout != nil
    else { return }
    times.stallsWatchedSince = loop.now
    armTimer()
  }

  /// Resets the streams of which nothing could be sent since the last look. A peer that keeps its
  /// windows shut would otherwise hold what waits for it for ever.
  private func resetStalledStreams() {
    guard let since = times.stallsWatchedSince else { return }
    times.stallsWatchedSince = nil
    for stream in streams where stream.queuedBytes > 0 && stream.lastMoved <= since {
      stream.reset(.cancel)
    }
    watchForStalls()
  }
}
