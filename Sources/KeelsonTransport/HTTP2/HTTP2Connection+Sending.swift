import CNghttp2

extension HTTP2Connection {
  /// How much is written to one connection before others get their turn.
  private static let bytesPerTurn = 1024 * 1024

  func scheduleFlush() {
    guard !isFlushScheduled, !isClosed else { return }
    isFlushScheduled = true
    loop.flushAtEndOfTurn(self)
  }

  package func flush() {
    isFlushScheduled = false
    guard !isBlocked else { return }
    var written = 0
    while let session = unsafe session {
      let buffer = loop.sendScratch
      buffer.removeAll()
      guard unsafe fill(buffer, session) else { return }
      deliver()
      guard !isClosed else { return }
      if buffer.isEmpty {
        // Nothing more may go out: what is still queued waits for the peer's windows.
        watchForStalls()
        break
      }
      written += buffer.count
      let isWritten = write(buffer)
      // Resets that the peer made us send are counted as they go out; it may never send again.
      guard !isClosed, !cutOffIfMisbehaving(), isWritten else { return }
      if written >= Self.bytesPerTurn {
        scheduleFlush()
        return
      }
    }
    endIfDone()
  }

  /// Has nghttp2 make frames, up to one write's worth; false when the session broke.
  private func fill(_ buffer: SendBuffer, _ session: OpaquePointer) -> Bool {
    isInsideSession = true
    defer { isInsideSession = false }
    while buffer.count < limits.sendBatchBytes {
      var bytes: UnsafePointer<UInt8>?
      let count = unsafe nghttp2_session_mem_send(session, &bytes)
      if count == 0 { return true }
      guard count > 0 else {
        // NGHTTP2_ERR_NOMEM, or NGHTTP2_ERR_CALLBACK_FAILURE, which our callbacks never cause.
        isInsideSession = false
        tearDown(HTTP2CloseReason(.transportFailed, "Out of memory."))
        return false
      }
      unsafe buffer.append(UnsafeRawBufferPointer(start: bytes, count: count))
    }
    return true
  }

  /// Writes the buffer; what the socket does not take is kept. False when it did not take all.
  private func write(_ buffer: SendBuffer) -> Bool {
    switch unsafe byteStream.write(buffer.bytes) {
    case .bytes(let count):
      sentBytes += UInt64(count)
      buffer.drop(count)
      if buffer.isEmpty, !byteStream.isHoldingBytes { return true }
    case .wouldBlock: break
    case .ended:
      tearDown(HTTP2CloseReason(.closedByPeer, "The peer closed the connection."))
      return false
    case .failed(let error):
      tearDown(HTTP2CloseReason(.transportFailed, error.message))
      return false
    }
    unsafe unsent.append(buffer.bytes)
    isBlocked = true
    byteStream.isAwaitingRoom = true
    times.stalledSince = loop.now
    armTimer()
    return false
  }

  package func byteStreamIsWritable() {
    guard isBlocked else {
      byteStream.isAwaitingRoom = false
      return
    }
    if !unsent.isEmpty {
      switch unsafe byteStream.write(unsent.bytes) {
      case .bytes(let count):
        sentBytes += UInt64(count)
        // The time limit is for all of it: a peer that takes a byte now and then gets no more time.
        unsent.drop(count)
      case .wouldBlock: return
      case .ended:
        tearDown(HTTP2CloseReason(.closedByPeer, "The peer closed the connection."))
        return
      case .failed(let error):
        tearDown(HTTP2CloseReason(.transportFailed, error.message))
        return
      }
    }
    if unsent.isEmpty, !byteStream.isHoldingBytes {
      // A new one, so that an idle connection holds no memory for it.
      unsent = SendBuffer()
      isBlocked = false
      byteStream.isAwaitingRoom = false
      times.stalledSince = nil
      scheduleFlush()
    }
  }

  /// Sends what nghttp2 still has, as far as the socket takes it: the connection ends now.
  func writeLastBytes(_ session: OpaquePointer) {
    guard !isBlocked else { return }
    let buffer = SendBuffer()
    // Not the loop's shared buffer: this may run while that one is being filled or written.
    lastBytes = buffer
    defer { lastBytes = nil }
    isInsideSession = true
    while buffer.count < limits.sendBatchBytes {
      var bytes: UnsafePointer<UInt8>?
      let count = unsafe nghttp2_session_mem_send(session, &bytes)
      guard count > 0 else { break }
      unsafe buffer.append(UnsafeRawBufferPointer(start: bytes, count: count))
    }
    isInsideSession = false
    if !buffer.isEmpty { _ = unsafe byteStream.write(buffer.bytes) }
  }

  /// A session that neither reads nor writes any more, or a graceful shutdown without streams,
  /// is over.
  func endIfDone() {
    guard let session = unsafe session, !isBlocked else { return }
    if unsafe nghttp2_session_want_read(session) == 0
      && nghttp2_session_want_write(session) == 0
    {
      let reason =
        isGoingAway && shutdownState == .none
        ? HTTP2CloseReason(.closedByPeer, "The peer closed the connection in order.")
        : HTTP2CloseReason(.closedHere, "The connection was closed in order.")
      tearDown(reason)
    } else if case .announced = shutdownState, streams.isEmpty,
      unsafe nghttp2_session_want_write(session) == 0
    {
      tearDown(HTTP2CloseReason(.closedHere, "The connection was closed in order."))
    }
  }

  // MARK: Submitting

  func submitResponse(_ stream: HTTP2Stream, _ fields: HTTP2Fields, endStream: Bool) {
    guard let session = unsafe session else { return }
    var provider = unsafe nghttp2_data_provider(
      source: nghttp2_data_source(ptr: Unmanaged.passUnretained(stream).toOpaque()),
      read_callback: readData)
    let status = unsafe fields.withNameValues(&nameValues) { values, count in
      unsafe withUnsafePointer(to: &provider) { provider in
        unsafe nghttp2_submit_response(
          session, stream.id, values, count, endStream ? nil : provider)
      }
    }
    // NGHTTP2_ERR_NOMEM; NGHTTP2_ERR_DATA_EXIST cannot be, a stream sends its headers once.
    if status != 0 { submitReset(stream, .internalError) }
    scheduleFlush()
  }

  /// Called while nghttp2 works, which it allows. False when the stream ends without trailers.
  func submitTrailers(_ stream: HTTP2Stream) -> Bool {
    guard let session = unsafe session, let fields = stream.takeTrailers() else { return false }
    let status = unsafe fields.withNameValues(&nameValues) { values, count in
      unsafe nghttp2_submit_trailer(session, stream.id, values, count)
    }
    // NGHTTP2_ERR_NOMEM.
    if status != 0 { submitReset(stream, .internalError) }
    loop.spareFields.give(fields)
    return true
  }

  func submitReset(_ stream: HTTP2Stream, _ errorCode: HTTP2ErrorCode) {
    guard let session = unsafe session else { return }
    _ = unsafe nghttp2_submit_rst_stream(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.id, errorCode.rawValue)
    scheduleFlush()
  }

  func submitGoAway(_ errorCode: HTTP2ErrorCode, lastStreamID: Int32, debugText: String) {
    guard let session = unsafe session else { return }
    _ = unsafe Array(debugText.utf8).withUnsafeBufferPointer { text in
      unsafe nghttp2_submit_goaway(
        session, UInt8(NGHTTP2_FLAG_NONE.rawValue), lastStreamID, errorCode.rawValue,
        text.baseAddress, text.count)
    }
    scheduleFlush()
  }

  func resume(_ stream: HTTP2Stream) {
    guard let session = unsafe session else { return }
    _ = unsafe nghttp2_session_resume_data(session, stream.id)
    scheduleFlush()
  }

  func consume(_ stream: HTTP2Stream, _ count: Int) {
    guard let session = unsafe session else { return }
    _ = unsafe nghttp2_session_consume(session, stream.id, count)
    if unsafe !isFlushScheduled && nghttp2_session_want_write(session) != 0 { scheduleFlush() }
  }
}
