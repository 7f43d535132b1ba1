import CNghttp2

// nghttp2's session and its callbacks. A callback records; it never calls a handler, nor
// nghttp2_session_mem_send or _mem_recv.

extension HTTP2Connection {
  func makeSession() -> OpaquePointer {
    var callbacks: OpaquePointer?
    var option: OpaquePointer?
    var session: OpaquePointer?
    // Each fails with NGHTTP2_ERR_NOMEM only.
    let status = unsafe nghttp2_session_callbacks_new(&callbacks) | nghttp2_option_new(&option)
    precondition(status == 0, "out of memory")
    defer {
      unsafe nghttp2_session_callbacks_del(callbacks)
      unsafe nghttp2_option_del(option)
    }
    if role == .server {
      unsafe nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, onBeginFrame)
    }
    unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, onBeginHeaders)
    unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks, onHeader)
    unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, onFrameReceived)
    unsafe nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, onInvalidFrame)
    unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, onDataChunk)
    unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, onStreamClose)
    unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, onFrameSent)
    unsafe nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, onFrameNotSent)
    unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks, sendData)

    unsafe nghttp2_option_set_no_auto_window_update(option, 1)
    unsafe nghttp2_option_set_no_closed_streams(option, 1)
    unsafe nghttp2_option_set_max_outbound_ack(option, limits.maximumQueuedAcknowledgements)
    unsafe nghttp2_option_set_max_settings(option, limits.maximumSettingsPerFrame)
    unsafe nghttp2_option_set_max_continuations(option, limits.maximumContinuationFrames)
    // We count them ourselves, to say ENHANCE_YOUR_CALM where nghttp2 says INTERNAL_ERROR.
    unsafe nghttp2_option_set_stream_reset_rate_limit(option, .max, .max)

    let me = unsafe Unmanaged.passUnretained(self).toOpaque()
    var memory = unsafe loop.sessionMemory.functions
    let made =
      switch role {
      case .server: unsafe nghttp2_session_server_new3(&session, callbacks, me, option, &memory)
      case .client: unsafe nghttp2_session_client_new3(&session, callbacks, me, option, &memory)
      }
    guard made == 0, let session = unsafe session else { preconditionFailure("out of memory") }
    return unsafe session
  }

  func submitSettings() {
    guard let session = unsafe session else { return }
    func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
      nghttp2_settings_entry(
        settings_id: Int32(id.rawValue), value: UInt32(clamping: value))
    }
    var settings = [
      entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindowBytes),
      entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.maximumHeaderListBytes),
      entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
    ]
    switch role {
    case .server:
      settings.append(
        entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.maximumConcurrentStreams))
    case .client:
      settings.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
      settings.append(entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0))
    }
    let none = UInt8(NGHTTP2_FLAG_NONE.rawValue)
    let status = unsafe settings.withUnsafeBufferPointer {
      unsafe nghttp2_submit_settings(session, none, $0.baseAddress, $0.count)
    }
    precondition(status == 0, "our own settings are valid")
    _ = unsafe nghttp2_session_set_local_window_size(
      session, none, 0, Int32(clamping: limits.connectionWindowBytes))
  }

  /// Ends the connection for a rule that nghttp2 does not watch. Called while nghttp2 works, which
  /// it allows.
  func submitTermination(_ errorCode: HTTP2ErrorCode) {
    guard let session = unsafe session else { return }
    _ = unsafe nghttp2_session_terminate_session(session, errorCode.rawValue)
  }

  /// The peer did something that costs us and brings it nothing.
  func countIdleFrame(_ kind: IdleFrames.Kind) {
    if let misbehaviour = idleFrames.count(kind, now: loop.now) {
      events.misbehaviour = misbehaviour
    }
  }
}

private func connection(_ data: UnsafeMutableRawPointer?) -> HTTP2Connection? {
  guard let data = unsafe data else { return nil }
  return unsafe Unmanaged<HTTP2Connection>.fromOpaque(data).takeUnretainedValue()
}

private func stream(_ session: OpaquePointer?, _ id: Int32) -> HTTP2Stream? {
  guard let data = unsafe nghttp2_session_get_stream_user_data(session, id) else { return nil }
  return unsafe Unmanaged<HTTP2Stream>.fromOpaque(data).takeUnretainedValue()
}

/// Server only, and called for each frame: the rules that nghttp2 1.52 leaves to us.
private let onBeginFrame: nghttp2_on_begin_frame_callback = { session, header, data in
  guard let header = unsafe header?.pointee else { return 0 }
  switch UInt32(header.type) {
  case NGHTTP2_HEADERS.rawValue:
    // RFC 9113 section 5.1.1: a request on a number that is used up. What comes on a stream that
    // we reset may have been on its way.
    guard let connection = unsafe connection(data), header.stream_id <= connection.lastStreamID,
      unsafe nghttp2_session_find_stream(session, header.stream_id) == nil,
      !connection.ownResets.contains(header.stream_id)
    else { return 0 }
    connection.submitTermination(.protocolError)
  case NGHTTP2_PRIORITY.rawValue:
    // Priorities are off, and so are nghttp2's checks of them: RFC 9113 section 6.3.
    guard let connection = unsafe connection(data) else { return 0 }
    connection.countIdleFrame(.priority)
    if header.stream_id == 0 { connection.submitTermination(.protocolError) }
  case NGHTTP2_SETTINGS.rawValue:
    guard let connection = unsafe connection(data) else { return 0 }
    connection.queuedBeforeSettings = unsafe nghttp2_session_get_outbound_queue_size(session)
  default: break
  }
  return 0
}

private let onBeginHeaders: nghttp2_on_begin_headers_callback = { session, frame, data in
  guard let connection = unsafe connection(data), let frame = unsafe frame else { return 0 }
  let id = unsafe frame.pointee.hd.stream_id
  if unsafe connection.role == .server && frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST {
    let stream = connection.openIncoming(id)
    connection.lastStreamID = id
    _ = unsafe nghttp2_session_set_stream_user_data(
      session, id, Unmanaged.passUnretained(stream).toOpaque())
  } else {
    connection.beginHeaders(of: unsafe stream(session, id))
  }
  return 0
}

// The connection outlives the call of nghttp2 that leads here, so its references are not counted
// for each field.
private let onHeader: nghttp2_on_header_callback = {
  _, _, name, nameBytes, value, valueBytes, _, data in
  guard let data = unsafe data else { return 0 }
  unsafe Unmanaged<HTTP2Connection>.fromOpaque(data)._withUnsafeGuaranteedRef {
    unsafe $0.record(
      name: UnsafeBufferPointer(start: name, count: nameBytes),
      value: UnsafeBufferPointer(start: value, count: valueBytes))
  }
  return 0
}

private let onFrameReceived: nghttp2_on_frame_recv_callback = { session, frame, data in
  guard let connection = unsafe connection(data), let frame = unsafe frame else { return 0 }
  let header = unsafe frame.pointee.hd
  let endsStream = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
  switch UInt32(header.type) {
  case NGHTTP2_HEADERS.rawValue:
    connection.times.headersBegan = nil
    connection.recordHeaders(endsStream: endsStream)
  case NGHTTP2_DATA.rawValue:
    if endsStream {
      if let stream = unsafe stream(session, header.stream_id) {
        stream.arrived.end = true
        connection.touch(stream)
      }
    } else if unsafe header.length <= frame.pointee.data.padlen {
      connection.countIdleFrame(.emptyData)
    }
  case NGHTTP2_SETTINGS.rawValue:
    if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 {
      if connection.hasReceivedSettings { connection.countIdleFrame(.settings) }
      connection.hasReceivedSettings = true
      // Beside its acknowledgement nghttp2 has only resets to queue: for streams whose windows
      // have grown too large, which is an error of the connection (RFC 9113 section 6.9.2).
      if connection.role == .server,
        unsafe nghttp2_session_get_outbound_queue_size(session)
          > connection.queuedBeforeSettings + 1
      {
        connection.submitTermination(.flowControlError)
      }
      connection.events.settings = true
    }
  case NGHTTP2_PING.rawValue:
    if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 {
      connection.events.answeredPings.append(
        unsafe withUnsafeBytes(of: frame.pointee.ping.opaque_data) {
          unsafe $0.loadUnaligned(as: UInt64.self)
        })
    } else {
      connection.countPing()
    }
  case NGHTTP2_GOAWAY.rawValue:
    connection.countIdleFrame(.goAway)
    let goAway = unsafe frame.pointee.goaway
    let text = unsafe UnsafeBufferPointer(
      start: goAway.opaque_data, count: min(goAway.opaque_data_len, 256))
    connection.isGoingAway = true
    connection.events.goAways.append(
      unsafe ConnectionEvents.GoAway(
        lastStreamID: goAway.last_stream_id,
        errorCode: HTTP2ErrorCode(rawValue: goAway.error_code),
        debugText: String(decoding: text, as: UTF8.self)))
  case NGHTTP2_WINDOW_UPDATE.rawValue:
    connection.countIdleFrame(.windowUpdate)
  case NGHTTP2_RST_STREAM.rawValue:
    if connection.role == .server { connection.countIdleFrame(.reset) }
  default: break
  }
  return 0
}

private let onInvalidFrame: nghttp2_on_invalid_frame_recv_callback = { _, _, _, data in
  guard let connection = unsafe connection(data) else { return 0 }
  connection.times.headersBegan = nil
  // On a server the reset that answers it is counted, when it is sent.
  if connection.role == .client { connection.countIdleFrame(.invalid) }
  return 0
}

private let onDataChunk: nghttp2_on_data_chunk_recv_callback = {
  session, _, id, bytes, count, data in
  guard let connection = unsafe connection(data) else { return 0 }
  guard let stream = unsafe stream(session, id) else {
    // Nobody will consume it: the connection's window must not shrink for it.
    _ = unsafe nghttp2_session_consume_connection(session, count)
    return 0
  }
  unsafe stream.arrived.body.append(UnsafeBufferPointer(start: bytes, count: count))
  stream.unconsumedBytes += count
  connection.touch(stream)
  return 0
}

private let onStreamClose: nghttp2_on_stream_close_callback = { session, id, errorCode, data in
  guard let connection = unsafe connection(data), let stream = unsafe stream(session, id) else {
    return 0
  }
  _ = unsafe nghttp2_session_set_stream_user_data(session, id, nil)
  if stream.unconsumedBytes > 0 {
    _ = unsafe nghttp2_session_consume_connection(session, stream.unconsumedBytes)
    stream.unconsumedBytes = 0
  }
  stream.arrived.closed = HTTP2ErrorCode(rawValue: errorCode)
  stream.didClose()
  connection.events.closedStreams = true
  connection.touch(stream)
  return 0
}

private let onFrameSent: nghttp2_on_frame_send_callback = { session, frame, data in
  guard let connection = unsafe connection(data), let frame = unsafe frame else { return 0 }
  let header = unsafe frame.pointee.hd
  switch UInt32(header.type) {
  case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
    connection.pingStrikes.forgive()
    if UInt32(header.type) == NGHTTP2_DATA.rawValue { connection.idleFrames.sentData() }
    if connection.role == .client, UInt32(header.type) == NGHTTP2_HEADERS.rawValue {
      unsafe stream(session, header.stream_id)?.hasLeft = true
    }
    if connection.role == .server,
      header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
      unsafe nghttp2_session_get_stream_remote_close(session, header.stream_id) == 0
    {
      // The response is complete before the request is: RFC 9113 section 8.1. Submitting the
      // reset earlier would drop the trailers.
      _ = unsafe nghttp2_submit_rst_stream(
        session, UInt8(NGHTTP2_FLAG_NONE.rawValue), header.stream_id, NGHTTP2_NO_ERROR.rawValue)
    }
  case NGHTTP2_RST_STREAM.rawValue:
    connection.ownResets.insert(header.stream_id)
    // A reset that the client made us send (CVE-2025-8671). Some come without a frame that
    // nghttp2 calls invalid, a body longer than its content-length for one; our own resets have
    // these two codes.
    let code = unsafe frame.pointee.rst_stream.error_code
    if connection.role == .server, code != NGHTTP2_NO_ERROR.rawValue,
      code != NGHTTP2_CANCEL.rawValue
    {
      connection.countIdleFrame(.forcedReset)
    }
  default: break
  }
  return 0
}

/// Headers or trailers that nghttp2 refuses to send, such as those over its limit of 64 KiB: the
/// peer would wait for them for ever. It closes the stream of a refused request by itself.
private let onFrameNotSent: nghttp2_on_frame_not_send_callback = { session, frame, _, data in
  guard let frame = unsafe frame else { return 0 }
  let header = unsafe frame.pointee.hd
  guard UInt32(header.type) == NGHTTP2_HEADERS.rawValue,
    unsafe frame.pointee.headers.cat != NGHTTP2_HCAT_REQUEST,
    unsafe stream(session, header.stream_id) != nil
  else { return 0 }
  _ = unsafe nghttp2_submit_rst_stream(
    session, UInt8(NGHTTP2_FLAG_NONE.rawValue), header.stream_id, NGHTTP2_INTERNAL_ERROR.rawValue)
  return 0
}

/// Says how much the next DATA frame of a stream holds; ``sendData`` then copies it.
let readData: nghttp2_data_source_read_callback = {
  session, id, _, limit, flags, source, _ in
  guard let pointer = unsafe source?.pointee.ptr, let flags = unsafe flags else { return 0 }
  let stream = unsafe Unmanaged<HTTP2Stream>.fromOpaque(pointer).takeUnretainedValue()
  switch stream.nextData(atMost: limit) {
  case .nothingNow: return Int(NGHTTP2_ERR_DEFERRED.rawValue)
  case .bytes(let count, let isLast):
    unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    if isLast {
      unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
      if unsafe stream.connection?.submitTrailers(stream) == true {
        unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
      }
    }
    return count
  }
}

/// Appends a DATA frame to what the connection writes next. Padding is never asked for.
private let sendData: nghttp2_send_data_callback = { _, _, header, count, source, data in
  guard let connection = unsafe connection(data), let header = unsafe header,
    let pointer = unsafe source?.pointee.ptr
  else { return 0 }
  let stream = unsafe Unmanaged<HTTP2Stream>.fromOpaque(pointer).takeUnretainedValue()
  let buffer = connection.lastBytes ?? connection.loop.sendScratch
  // nghttp2 goes from one DATA frame to the next as long as the windows allow: without this, all
  // that waits would be gathered for one write. It asks for the same frame again later.
  guard buffer.count < connection.limits.sendBatchBytes else {
    return Int32(NGHTTP2_ERR_WOULDBLOCK.rawValue)
  }
  unsafe buffer.append(UnsafeRawBufferPointer(start: header, count: 9))
  if count > 0 {
    unsafe buffer.append(count: count) { room in
      let isWritableAgain = unsafe stream.moveData(
        into: room, lowWatermark: connection.limits.streamLowWatermarkBytes)
      if isWritableAgain {
        stream.arrived.room = true
        connection.touch(stream)
      }
    }
  }
  return 0
}
