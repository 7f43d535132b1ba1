import CNghttp2
import KeelsonCore

extension HTTP2Connection {
  /// How much is read from one connection before others get their turn.
  private static let readsPerTurn = 4

  package func byteStreamIsReadable() {
    for _ in 0..<Self.readsPerTurn {
      guard !isClosed else { return }
      switch unsafe byteStream.read(into: loop.receiveScratch) {
      case .bytes(let count):
        unsafe receive(
          UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(loop.receiveScratch)[..<count]))
        // Less than there was room for: nothing is left, and no call is needed to learn that.
        if unsafe count < loop.receiveScratch.count { return }
      case .wouldBlock:
        return
      case .ended:
        tearDown(HTTP2CloseReason(.closedByPeer, "The peer closed the connection."))
        return
      case .failed(let error):
        tearDown(
          HTTP2CloseReason(
            error.code == .peerMisbehaved ? .peerMisbehaved : .transportFailed, error.message))
        return
      }
    }
  }

  private func receive(_ bytes: UnsafeRawBufferPointer) {
    guard let session = unsafe session else { return }
    let isFirst = receivedBytes == 0
    receivedBytes += UInt64(bytes.count)
    times.lastReceived = loop.now
    if role == .client, isFirst, let line = unsafe HTTP1Refusal.answer(bytes) {
      tearDown(
        HTTP2CloseReason(
          .peerMisbehaved,
          "The server answered \"\(line)\": it expects something else on this port, TLS perhaps."))
      return
    }
    isInsideSession = true
    let status = unsafe nghttp2_session_mem_recv(
      session, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
    isInsideSession = false
    guard status >= 0 else {
      if role == .server, isFirst, unsafe HTTP1Refusal.isHTTP1(bytes) { return refuseHTTP1() }
      if role == .server, isFirst, unsafe Plaintext.isTLS(bytes) {
        tearDown(
          HTTP2CloseReason(.peerMisbehaved, "A client spoke TLS on a port without TLS."))
        return
      }
      return endBroken(Int32(status))
    }
    if times.headersBegan != nil { armTimer() }
    deliver()
    checkHealth()
  }

  /// nghttp2 does not go on: NGHTTP2_ERR_BAD_CLIENT_MAGIC, _FLOODED, _TOO_MANY_CONTINUATIONS,
  /// _CALLBACK_FAILURE, _NOMEM.
  private func endBroken(_ status: Int32) {
    deliver()
    guard !isClosed, !cutOffIfMisbehaving() else { return }
    let text = unsafe String(cString: nghttp2_strerror(status))
    let floods = [NGHTTP2_ERR_FLOODED.rawValue, NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue]
    let isFlood = floods.contains(status)
    close(
      HTTP2CloseReason(.peerMisbehaved, "The peer broke the protocol: \(text)."),
      errorCode: isFlood ? .enhanceYourCalm : .protocolError,
      debugText: isFlood ? text : "")
  }

  /// Answers a client that speaks HTTP/1.1, so that a person with a browser or curl sees why. No
  /// frames go out behind it.
  private func refuseHTTP1() {
    _ = unsafe HTTP1Refusal.response.withUnsafeBytes { unsafe byteStream.write($0) }
    tearDown(HTTP2CloseReason(.peerMisbehaved, "The peer speaks HTTP/1.1."))
  }

  /// After nghttp2 has worked: ends the connection if it has to end.
  func checkHealth() {
    guard let session = unsafe session, !cutOffIfMisbehaving() else { return }
    if unsafe nghttp2_session_get_outbound_queue_size(session)
      > limits.maximumQueuedControlFrames + streams.count * 4
    {
      close(
        HTTP2CloseReason(.peerMisbehaved, "The peer was cut off: it does not read our answers."),
        errorCode: .enhanceYourCalm, debugText: "too many frames wait to be sent")
    } else if unsafe nghttp2_session_want_write(session) != 0 {
      scheduleFlush()
    } else {
      endIfDone()
    }
  }

  /// Ends the connection of a peer that has gone past a limit; true if it had.
  func cutOffIfMisbehaving() -> Bool {
    // First, since clients know this text and ping less often from then on.
    if events.tooManyPings {
      close(
        HTTP2CloseReason(.peerMisbehaved, "The peer was cut off: it pinged too often."),
        errorCode: .enhanceYourCalm, debugText: "too_many_pings")
      return true
    }
    if let misbehaviour = events.misbehaviour {
      close(
        HTTP2CloseReason(.peerMisbehaved, "The peer was cut off: \(misbehaviour)."),
        errorCode: .enhanceYourCalm, debugText: misbehaviour)
      return true
    }
    return false
  }

  // MARK: Recording, while nghttp2 works

  /// The headers of a request begin to arrive: a stream for it.
  func openIncoming(_ id: Int32) -> HTTP2Stream {
    let stream = loop.spareStreams.take(self, id)
    add(stream)
    requestRecorder?.begin()
    beginHeaders(of: stream)
    incoming.isRequest = true
    return stream
  }

  /// A header block begins to arrive; of no stream when that has closed.
  func beginHeaders(of stream: HTTP2Stream?) {
    times.headersBegan = loop.now
    incoming.stream = stream
    incoming.isTooLarge = false
    incoming.isInformational = false
    incoming.isRequest = false
    incoming.listBytes = 0
    // Of a block that was never complete.
    if !incoming.fields.isEmpty { incoming.fields.removeAll() }
  }

  /// A field of the header block that is arriving.
  func record(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
    guard incoming.stream != nil, !incoming.isTooLarge else { return }
    incoming.listBytes += name.count + value.count + 32
    guard incoming.listBytes <= limits.maximumHeaderListBytes else {
      incoming.isTooLarge = true
      return
    }
    if incoming.isRequest {
      unsafe requestRecorder?.record(name.span, value.span)
      return
    }
    if incoming.fields.isEmpty {
      incoming.fields = loop.spareFields.take()
      incoming.isInformational =
        unsafe role == .client && name.count == 7 && name.first == UInt8(ascii: ":")
        && value.first == UInt8(ascii: "1")
    }
    unsafe incoming.fields.append(name: name, value: value)
  }

  func recordHeaders(endsStream: Bool) {
    guard let stream = incoming.stream else { return }
    incoming.stream = nil
    if incoming.isInformational {
      loop.spareFields.give(takeIncoming())
      return
    }
    if incoming.isTooLarge {
      stream.arrived.isTooLarge = true
      countIdleFrame(.oversizedHeaders)
    }
    if incoming.isRequest {
      stream.hasReceivedHeaders = true
      stream.arrived.request = true
      handler?.connection(self, recordsRequestOn: stream, isTooLarge: incoming.isTooLarge)
    } else if stream.hasReceivedHeaders {
      stream.arrived.trailers = takeIncoming()
    } else {
      stream.hasReceivedHeaders = true
      stream.arrived.headers = takeIncoming()
    }
    if endsStream { stream.arrived.end = true }
    touch(stream)
  }

  private func takeIncoming() -> HTTP2Fields {
    var fields = HTTP2Fields()
    swap(&fields, &incoming.fields)
    return fields
  }

  func countPing() {
    countIdleFrame(.ping)
    guard role == .server else { return }
    if pingStrikes.ping(
      now: loop.now, minimumIntervalMilliseconds: limits.minimumPingInterval.wholeMilliseconds,
      allowed: limits.maximumPingStrikes)
    {
      events.tooManyPings = true
    }
  }

  // MARK: Handing on

  /// Tells the handlers what was recorded.
  func deliver() {
    guard !isDelivering else { return }
    isDelivering = true
    defer { isDelivering = false }
    if !events.isEmpty { deliverConnectionEvents() }
    var position = 0
    while position < touched.count {
      let stream = touched[position]
      position += 1
      stream.isTouched = false
      deliver(stream)
    }
    if role == .server {
      for index in touched.indices where touched[index].isOver {
        loop.spareStreams.give(&touched[index])
      }
    }
    touched.removeAll(keepingCapacity: true)
    if events.closedStreams {
      events.closedStreams = false
      handler?.connectionClosedStream(self)
    }
  }

  private func deliver(_ stream: HTTP2Stream) {
    if stream.arrived.request {
      stream.arrived.request = false
      stream.handler?.streamBegan(stream)
    }
    if let fields = stream.arrived.headers {
      stream.arrived.headers = nil
      stream.handler?.stream(
        stream, receivedHeaders: fields, isTooLarge: stream.arrived.isTooLarge)
      loop.spareFields.give(fields)
    }
    while let piece = unsafe stream.arrived.body.takeFirst() {
      if let handler = stream.handler {
        unsafe handler.stream(stream, receivedData: piece.span)
      } else {
        stream.consume(piece.count)
      }
    }
    if let fields = stream.arrived.trailers {
      stream.arrived.trailers = nil
      stream.handler?.stream(
        stream, receivedTrailers: fields, isTooLarge: stream.arrived.isTooLarge)
    }
    if stream.arrived.end {
      stream.arrived.end = false
      stream.handler?.streamReceivedEnd(stream)
    }
    if stream.arrived.room {
      stream.arrived.room = false
      stream.handler?.streamBecameWritable(stream)
    }
    if let errorCode = stream.arrived.closed, !isClosed {
      let handler = stream.handler
      stream.handler = nil
      stream.isOver = true
      remove(stream)
      handler?.stream(stream, closedWith: errorCode, connectionReason: nil)
    }
  }

  private func deliverConnectionEvents() {
    if events.settings {
      events.settings = false
      handler?.connectionReceivedSettings(self)
    }
    let answered = events.answeredPings
    events.answeredPings = []
    for payload in answered { pings.take(payload, now: loop.now)?() }
    let goAways = events.goAways
    events.goAways = []
    for goAway in goAways {
      handler?.connection(
        self, receivedGoAwayWith: goAway.errorCode, lastStreamID: goAway.lastStreamID,
        debugText: goAway.debugText)
    }
  }
}

/// What a peer that speaks HTTP/1.1 is told.
enum HTTP1Refusal {
  /// Whether input that is no HTTP/2 preface begins like a request of HTTP/1.
  static func isHTTP1(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let line = unsafe bytes.prefix { $0 != 0x0D && $0 != 0x0A }
    return unsafe String(decoding: line, as: UTF8.self).contains(" HTTP/1.")
  }

  /// The first line of a server's answer in HTTP/1; nil when it is none.
  static func answer(_ bytes: UnsafeRawBufferPointer) -> String? {
    guard unsafe bytes.starts(with: "HTTP/1.".utf8) else { return nil }
    let line = unsafe bytes.prefix(80).prefix { $0 >= 0x20 && $0 < 0x7F }
    return unsafe String(decoding: line, as: UTF8.self)
  }

  static let response: [UInt8] = {
    let sentence = "This port speaks gRPC over HTTP/2; HTTP/1.1 is not served here.\n"
    let head =
      "HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain\r\n"
      + "Content-Length: \(sentence.utf8.count)\r\nConnection: close\r\n\r\n"
    return Array((head + sentence).utf8)
  }()
}
