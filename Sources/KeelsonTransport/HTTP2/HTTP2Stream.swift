import CNghttp2

/// One stream of an ``HTTP2Connection``, in either role. Confined to the connection's loop.
///
/// Outgoing chunks queue here and go out as the peer's windows and the socket allow. Writers
/// that produce much watch ``isWritable`` and wait for `streamBecameWritable`.
///
/// `@unchecked Sendable`: touched on the connection's loop only. `@exclusivity(unchecked)`: see
/// ``HTTP2Connection``.
@safe package final class HTTP2Stream: @unchecked Sendable {
  /// Numbers streams within the connection.
  package internal(set) var id: Int32
  /// nil once the stream has closed, which is before the connection goes: so the reference needs
  /// no counting (a weak one would make all counting of the connection slow).
  @exclusivity(unchecked) package internal(set) unowned(unsafe) var connection: HTTP2Connection?
  /// Hears the stream's events; kept until the stream has closed.
  @safe @exclusivity(unchecked) package var handler: (any HTTP2StreamHandler)?

  /// What has come and was not handed on yet.
  struct Arrived {
    /// A request's headers, which the handler knows already.
    var request = false
    var headers: HTTP2Fields?
    var trailers: HTTP2Fields?
    var body = BodyPieces()
    var isTooLarge = false
    var end = false
    var room = false
    var closed: HTTP2ErrorCode?
  }
  @safe @exclusivity(unchecked) var arrived = Arrived()
  /// Whether it stands in the connection's list of streams with something arrived.
  @safe @exclusivity(unchecked) var isTouched = false
  @safe @exclusivity(unchecked) var hasReceivedHeaders = false
  /// Its handler has heard of its end: nothing more comes of it.
  @safe @exclusivity(unchecked) var isOver = false
  /// Client only: the request's headers are on their way, so the server may see them. Until then
  /// the stream may stand in nghttp2's queue, when the server allows no more at once.
  @safe @exclusivity(unchecked) var hasLeft = false
  /// Where it stands in the connection's list of streams.
  @safe @exclusivity(unchecked) var index = 0

  /// Bytes handed to the handler and not consumed yet, or not handed on.
  @safe @exclusivity(unchecked) var unconsumedBytes = 0

  @safe @exclusivity(unchecked) private(set) var outbound = OutboundQueue()
  /// When bytes last were queued on an empty queue, or some left it; by the loop's clock.
  @safe @exclusivity(unchecked) private(set) var lastMoved: UInt64 = 0
  @safe @exclusivity(unchecked) private(set) var isFinished = false
  @safe @exclusivity(unchecked) private var trailers: HTTP2Fields?
  /// nghttp2 waits for us to say that there is data again.
  @safe @exclusivity(unchecked) private var isDeferred = false
  @safe @exclusivity(unchecked) private var isBlocked = false
  /// Whether our side has sent its END_STREAM or the stream was reset.
  @safe @exclusivity(unchecked) private(set) var hasSentHeaders = false

  init(connection: HTTP2Connection, id: Int32) {
    unsafe self.connection = connection
    self.id = id
  }

  /// Makes a closed stream, which nobody refers to, the stream of another request.
  func reuse(_ connection: HTTP2Connection, _ id: Int32) {
    unsafe self.connection = connection
    self.id = id
    handler = nil
    arrived = Arrived()
    isTouched = false
    hasReceivedHeaders = false
    hasLeft = false
    index = 0
    unconsumedBytes = 0
    outbound = OutboundQueue()
    lastMoved = 0
    isFinished = false
    trailers = nil
    isDeferred = false
    isBlocked = false
    hasSentHeaders = false
    isOver = false
  }

  /// Whether the stream is open for sending: not closed, not finished.
  package var isOpen: Bool { unsafe connection != nil && !isFinished }

  /// Whether another chunk may be queued without going far over the limit
  /// (`streamHighWatermarkBytes`). Sending does not refuse when it is false.
  package var isWritable: Bool { !isBlocked }

  /// Bytes queued and not written yet.
  package var queuedBytes: Int { outbound.bytes }

  /// Server only: sends the response's headers. With `endStream` they are all of the response
  /// (gRPC's "trailers only"), otherwise chunks and ``finish(trailers:)`` follow.
  package func sendHeaders(_ fields: HTTP2Fields, endStream: Bool = false) {
    guard let connection = unsafe connection, !hasSentHeaders else { return }
    hasSentHeaders = true
    if endStream { isFinished = true }
    connection.submitResponse(self, fields, endStream: endStream)
  }

  /// An empty list for headers or trailers to be sent on this stream, with memory of an earlier
  /// one if there is some.
  func emptyFields() -> HTTP2Fields {
    unsafe connection?.loop.spareFields.take() ?? HTTP2Fields()
  }

  /// Queues a chunk of the body. Dropped when the stream has closed or was finished.
  package func send(_ chunk: OutgoingMessage) {
    guard let connection = unsafe connection, !isFinished else { return }
    if outbound.isEmpty, chunk.remainingBytes > 0 {
      lastMoved = connection.loop.now
      connection.streamsWithQueuedBytes += 1
    }
    connection.queuedBytes += chunk.remainingBytes
    connection.loop.queuedBytes += chunk.remainingBytes
    outbound.append(chunk)
    if outbound.bytes > connection.limits.streamHighWatermarkBytes { isBlocked = true }
    resume(connection)
  }

  /// Ends this side after what is queued, with trailers or without. A second call does nothing.
  package func finish(trailers: HTTP2Fields? = nil) {
    guard let connection = unsafe connection, !isFinished else { return }
    isFinished = true
    self.trailers = trailers
    resume(connection)
  }

  /// Ends the stream at once; what is queued is dropped.
  package func reset(_ errorCode: HTTP2ErrorCode) {
    guard let connection = unsafe connection else { return }
    isFinished = true
    connection.submitReset(self, errorCode)
  }

  /// Says that this many received body bytes have been processed, so that the peer may send as
  /// many more.
  package func consume(_ count: Int) {
    guard let connection = unsafe connection, count > 0 else { return }
    let count = min(count, unconsumedBytes)
    unconsumedBytes -= count
    connection.consume(self, count)
  }

  private func resume(_ connection: HTTP2Connection) {
    guard isDeferred else { return }
    isDeferred = false
    connection.resume(self)
  }

  // MARK: For the connection, while nghttp2 works

  /// What the next DATA frame may hold.
  enum NextData {
    case bytes(Int, isLast: Bool)
    case nothingNow
  }

  func nextData(atMost limit: Int) -> NextData {
    if outbound.isEmpty, !isFinished {
      isDeferred = true
      return .nothingNow
    }
    let count = min(outbound.bytes, limit)
    return .bytes(count, isLast: isFinished && count == outbound.bytes)
  }

  func takeTrailers() -> HTTP2Fields? {
    let fields = trailers
    trailers = nil
    return fields
  }

  /// Moves queued bytes out; true when writers that waited may go on.
  func moveData(into room: UnsafeMutableRawBufferPointer, lowWatermark: Int) -> Bool {
    unsafe outbound.copy(into: room)
    unsafe connection?.queuedBytes -= room.count
    unsafe connection?.loop.queuedBytes -= room.count
    if outbound.isEmpty {
      unsafe connection?.streamsWithQueuedBytes -= 1
    } else if let connection = unsafe connection {
      lastMoved = connection.loop.now
    }
    guard isBlocked, outbound.bytes <= lowWatermark else { return false }
    isBlocked = false
    return true
  }

  func didClose() {
    if !outbound.isEmpty, let connection = unsafe connection {
      connection.streamsWithQueuedBytes -= 1
      connection.queuedBytes -= outbound.bytes
      connection.loop.queuedBytes -= outbound.bytes
    }
    unsafe connection = nil
    outbound.removeAll()
    isFinished = true
  }
}
