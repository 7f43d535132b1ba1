import KeelsonCore

/// Makes calls of the requests that come on one connection. Confined to its loop.
final class ServerConnection: HTTP2ConnectionHandler {
  private let server: ServerCore
  private let loop: Loop
  private let home: ServerLoop
  @safe @exclusivity(unchecked) private(set) var connection: HTTP2Connection?
  @safe @exclusivity(unchecked) private var lastUserAgent = LastUserAgent()
  /// The peer's address in gRPC's naming.
  let peer: String
  /// Calls of this connection whose handlers have not returned.
  @safe @exclusivity(unchecked) var runningCalls = 0
  /// Bytes of their requests that no handler has taken.
  @safe @exclusivity(unchecked) var heldRequestBytes = 0
  /// Where it stands in its ``ServerLoop``.
  var index = 0

  init(server: ServerCore, home: ServerLoop, stream: any ByteStream) {
    self.server = server
    self.home = home
    loop = home.loop
    peer = stream.peer
    connection = HTTP2Connection(
      role: .server, stream: stream, loop: loop, limits: server.configuration.http2, handler: self)
  }

  func connection(
    _ connection: HTTP2Connection, received request: HTTP2Fields, isTooLarge: Bool,
    on stream: HTTP2Stream
  ) {
    guard !isTooLarge else {
      return refuse(
        stream,
        RPCError(
          .resourceExhausted,
          "The request's headers are over the limit of "
            + "\(server.configuration.http2.maximumHeaderListBytes) bytes."), httpStatus: "431")
    }
    let head = RequestHead(request, router: server.router, userAgent: &lastUserAgent)
    // Plain HTTP would branch off here: what comes is told apart by content type and path.
    guard head.isGRPC else {
      return stream.sendHeaders(ResponseFields.plain(status: "415"), endStream: true)
    }
    guard head.isPost else {
      return stream.sendHeaders(
        ResponseFields.plain(status: "405", allow: "POST"), endStream: true)
    }
    guard let entry = head.entry else {
      return refuse(
        stream, RPCError(.unimplemented, "There is no method \(head.path.prefix(256))."), head)
    }
    if let encoding = head.unknownEncoding {
      return refuse(
        stream,
        RPCError(
          .unimplemented,
          "The encoding \"\(encoding.prefix(64))\" is not known here; send messages as they are."),
        head)
    }
    guard !head.hasMalformedTimeout else {
      return refuse(
        stream,
        RPCError(
          .internalError,
          "The grpc-timeout is malformed; it has 1 to 8 digits and a unit of HMSmun."
        ), head)
    }
    let context = ServerContext(
      method: entry.route.method, metadata: head.metadata, peer: connection.peer,
      deadline: head.timeout.map(Deadline.init(after:)),
      correlation: correlation(head.correlationID))
    let call = ServerCall(
      server: server, home: home, origin: self, stream: stream, context: context, entry: entry)
    stream.handler = call
    call.start(timeout: head.timeout)
  }

  private func correlation(_ given: String?) -> CorrelationID {
    if let given { return .given(given) }
    return .made(UUIDv7(at: .now, random: loop.random.next()))
  }

  private func refuse(
    _ stream: HTTP2Stream, _ error: RPCError, _ head: RequestHead? = nil,
    httpStatus: String = "200"
  ) {
    stream.sendHeaders(
      ResponseFields.refusal(
        error, httpStatus: httpStatus, correlation: correlation(head?.correlationID),
        limits: ResponseFields.Limits(server.configuration)),
      endStream: true)
  }

  /// Fails all calls under way, in order that the connection can end.
  func cancelCalls(_ error: RPCError) {
    for stream in connection?.streams ?? [] { (stream.handler as? ServerCall)?.fail(error) }
  }

  func connectionReceivedSettings(_ connection: HTTP2Connection) {}

  func connection(
    _ connection: HTTP2Connection, receivedGoAwayWith errorCode: HTTP2ErrorCode,
    lastStreamID: Int32, debugText: String
  ) {
    guard errorCode != .noError else { return }
    server.logger.log(
      .debug, "A client said GOAWAY: \(errorCode) \(debugText)", ["peer": connection.peer])
  }

  func connectionClosedStream(_ connection: HTTP2Connection) {}

  func connection(_ connection: HTTP2Connection, closedBecause reason: HTTP2CloseReason) {
    switch reason.code {
    case .peerMisbehaved, .timedOut:
      server.logger.log(.info, reason.message, ["peer": connection.peer])
    default:
      server.logger.log(.debug, reason.message, ["peer": connection.peer])
    }
    self.connection = nil
    home.remove(self)
  }
}
