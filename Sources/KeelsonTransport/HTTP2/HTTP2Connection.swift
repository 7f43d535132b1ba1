import CNghttp2

/// One HTTP/2 connection, as client or as server: nghttp2's session between a byte stream and
/// the handlers of its streams.
///
/// Everything happens on the connection's loop: call it there only (``Loop/run(_:)`` gets you
/// there). Input is handed to nghttp2 as it comes; its callbacks record what happened, and
/// handlers hear of it after nghttp2 has returned. What handlers submit is written once, at the
/// end of the loop's turn.
///
/// Life: ``init(role:stream:loop:limits:handler:)``, ``start()``, streams, and in the end
/// `connection(_:closedBecause:)` exactly once, whoever closes it. The connection keeps itself
/// and its handler alive from ``start()`` until then.
///
/// A client: wait for `connectionReceivedSettings` (or don't: requests may go out at once), then
/// ``openStream(_:endStream:handler:)`` while ``availableStreams`` is above zero (more are
/// queued by nghttp2 until the server allows them). Body chunks: ``HTTP2Stream/send(_:)``,
/// ``HTTP2Stream/finish(trailers:)``; cancelling: `stream.reset(.cancel)`.
///
/// Inbound backpressure: the peer's windows open only by ``HTTP2Stream/consume(_:)``.
///
/// `@unchecked Sendable`: touched on its loop only. `@exclusivity(unchecked)` stands on what each
/// frame touches: on one thread, with nghttp2's callbacks only recording, no access overlaps
/// another, and the checks at run time were a tenth of a call's cost.
@safe package final class HTTP2Connection: Loop.Flushable, ByteStreamObserver, @unchecked Sendable {
  package enum Role: Sendable {
    case client
    case server
  }

  package let role: Role
  package let loop: Loop
  package let limits: HTTP2Limits
  /// The peer's address in gRPC's naming.
  package let peer: String

  let byteStream: any ByteStream
  let requestRecorder: (any HTTP2RequestRecorder)?
  @safe @exclusivity(unchecked) var handler: (any HTTP2ConnectionHandler)?
  @exclusivity(unchecked) var session: OpaquePointer?
  private var keepAlive: HTTP2Connection?

  /// All open streams.
  @safe @exclusivity(unchecked) var streams: [HTTP2Stream] = []
  /// How many of them have bytes queued.
  @safe @exclusivity(unchecked) var streamsWithQueuedBytes = 0
  /// How many bytes these are.
  @safe @exclusivity(unchecked) var queuedBytes = 0
  /// Streams with something to hand on to their handlers.
  @safe @exclusivity(unchecked) var touched: [HTTP2Stream] = []
  @safe @exclusivity(unchecked) var isDelivering = false
  @safe @exclusivity(unchecked) var isInsideSession = false

  /// The header block that is arriving.
  @safe @exclusivity(unchecked) var incoming = IncomingHeaders()
  @exclusivity(unchecked) var nameValues: [nghttp2_nv] = unsafe []

  @safe @exclusivity(unchecked) var isFlushScheduled = false
  /// Whether the socket has not taken all; nothing new is made before it has.
  @safe @exclusivity(unchecked) var isBlocked = false
  /// What the byte stream has not taken.
  @safe @exclusivity(unchecked) var unsent = SendBuffer()
  /// Where DATA frames go while the connection writes its last; otherwise to the loop's buffer.
  @safe @exclusivity(unchecked) var lastBytes: SendBuffer?

  @safe @exclusivity(unchecked) var events = ConnectionEvents()
  var pings = PendingPings()
  @safe @exclusivity(unchecked) var pingStrikes = PingStrikes()
  @safe @exclusivity(unchecked) var idleFrames: IdleFrames
  /// The number of the last stream that the peer opened.
  @safe @exclusivity(unchecked) var lastStreamID: Int32 = 0
  @safe @exclusivity(unchecked) var ownResets: OwnResets
  /// How many frames waited to be sent before the SETTINGS frame that is arriving.
  @safe @exclusivity(unchecked) var queuedBeforeSettings = 0
  @safe @exclusivity(unchecked) var times: ConnectionTimes
  var shutdownState = ShutdownState.none

  /// How many bytes this connection has received, and sent.
  package internal(set) var receivedBytes: UInt64 = 0
  package internal(set) var sentBytes: UInt64 = 0

  /// The peer's SETTINGS have come.
  package internal(set) var hasReceivedSettings = false
  /// The peer has said that it takes no new streams, or we have.
  package internal(set) var isGoingAway = false
  /// The connection has ended.
  package var isClosed: Bool { unsafe session == nil }
  /// How many streams are open, or wait to be opened.
  package var openStreams: Int { streams.count }

  /// Takes over a byte stream that is connected. On the loop's thread.
  ///
  /// - Parameter requestRecorder: server only: reads the headers of requests.
  package init(
    role: Role, stream: any ByteStream, loop: Loop, limits: HTTP2Limits,
    handler: any HTTP2ConnectionHandler, requestRecorder: (any HTTP2RequestRecorder)? = nil
  ) {
    self.role = role
    self.byteStream = stream
    self.loop = loop
    self.limits = limits
    self.handler = handler
    self.requestRecorder = requestRecorder
    peer = stream.peer
    times = ConnectionTimes(now: loop.now)
    idleFrames = IdleFrames(limits, now: loop.now)
    ownResets = OwnResets(capacity: limits.maximumConcurrentStreams)
  }

  deinit {
    assert(unsafe session == nil, "a connection closes before it goes")
  }

  /// Sends the preface and SETTINGS, and begins to read. A server sends nothing before it has
  /// heard from the client: one that speaks HTTP/1.1 can then be answered in its own language.
  package func start() {
    keepAlive = self
    unsafe session = makeSession()
    submitSettings()
    byteStream.start(observer: self)
    if role == .client { scheduleFlush() }
    armTimer()
  }

  /// Client only: how many more streams the server takes now.
  package var availableStreams: Int {
    guard let session = unsafe session, !isGoingAway else { return 0 }
    let allowed = unsafe nghttp2_session_get_remote_settings(
      session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
    return max(0, Int(min(allowed, UInt32(Int32.max))) - streams.count)
  }

  /// Client only: opens a stream with a request's headers (`:method`, `:scheme`, `:path`,
  /// `:authority` first).
  ///
  /// - Returns: nil when the connection has closed, is going away, or has used up its stream
  ///   numbers: take another connection.
  package func openStream(
    _ fields: HTTP2Fields, endStream: Bool = false, handler: any HTTP2StreamHandler
  ) -> HTTP2Stream? {
    precondition(role == .client, "only clients open streams")
    guard let session = unsafe session, !isGoingAway else { return nil }
    let stream = HTTP2Stream(connection: self, id: 0)
    stream.handler = handler
    let me = unsafe Unmanaged.passUnretained(stream).toOpaque()
    var provider = unsafe nghttp2_data_provider(
      source: nghttp2_data_source(ptr: me), read_callback: readData)
    let id = unsafe fields.withNameValues(&nameValues) { values, count in
      unsafe withUnsafePointer(to: &provider) { provider in
        unsafe nghttp2_submit_request(
          session, nil, values, count, endStream ? nil : provider, me)
      }
    }
    // NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE, NGHTTP2_ERR_NOMEM.
    guard id > 0 else { return nil }
    stream.id = id
    if endStream { stream.finish() }
    add(stream)
    scheduleFlush()
    return stream
  }

  /// Asks the peer for a sign of life; `completion` hears after how many milliseconds it came,
  /// and is dropped if the connection closes first (which is an event of its own).
  package func ping(_ completion: @escaping (_ milliseconds: UInt64) -> Void) {
    guard let session = unsafe session else { return }
    var payload = pings.add(at: loop.now, completion)
    _ = unsafe withUnsafeBytes(of: &payload) { bytes in
      unsafe nghttp2_submit_ping(
        session, UInt8(NGHTTP2_FLAG_NONE.rawValue),
        bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
    }
    scheduleFlush()
  }

  /// Ends the connection at once: open streams are closed with `errorCode`, a GOAWAY with it and
  /// the text is tried, without waiting for room.
  package func close(
    _ reason: HTTP2CloseReason, errorCode: HTTP2ErrorCode = .noError, debugText: String = ""
  ) {
    guard let session = unsafe session else { return }
    if !isInsideSession {
      submitGoAway(
        errorCode, lastStreamID: unsafe nghttp2_session_get_last_proc_stream_id(session),
        debugText: debugText)
      unsafe writeLastBytes(session)
    }
    tearDown(reason)
  }

  /// Frees the session, closes the byte stream, and tells everybody, streams first.
  func tearDown(_ reason: HTTP2CloseReason) {
    guard let session = unsafe session else { return }
    precondition(!isInsideSession, "nghttp2's callbacks only record")
    unsafe self.session = nil
    unsafe nghttp2_session_del(session)
    byteStream.close()
    if let timer = times.timer { loop.cancel(timer) }
    times.timer = nil
    pings.removeAll()
    let code: HTTP2ErrorCode = reason.code == .closedHere ? .cancel : .internalError
    for stream in streams {
      stream.didClose()
      if stream.arrived.closed == nil { stream.arrived.closed = code }
      let handler = stream.handler
      stream.handler = nil
      handler?.stream(
        stream, closedWith: stream.arrived.closed ?? code, connectionReason: reason)
    }
    streams = []
    touched = []
    let handler = handler
    self.handler = nil
    handler?.connection(self, closedBecause: reason)
    keepAlive = nil
  }

  func add(_ stream: HTTP2Stream) {
    stream.index = streams.count
    streams.append(stream)
    times.idleSince = nil
    idleFrames.openedStream()
    // Keepalive that sleeps without streams has to wake up with the first.
    if !limits.keepsAliveWithoutStreams, streams.count == 1 { armTimer() }
  }

  func remove(_ stream: HTTP2Stream) {
    let last = streams.removeLast()
    if last !== stream {
      streams[stream.index] = last
      last.index = stream.index
    }
    if streams.isEmpty {
      times.idleSince = loop.now
      armTimer()
    }
  }

  func touch(_ stream: HTTP2Stream) {
    guard !stream.isTouched else { return }
    stream.isTouched = true
    touched.append(stream)
  }
}
