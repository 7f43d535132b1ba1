import KeelsonCore

/// Makes calls of the requests that come on one connection. Confined to its loop.
final class ServerConnection: HTTP2ConnectionHandler {
  private let server: ServerCore
  private let loop: Loop
  private let home: ServerLoop
  private let entrance: Entrance
  /// Who the client is, by its certificate.
  private let identity: PeerIdentity?
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

  init(server: ServerCore, home: ServerLoop, entrance: Entrance, stream: any ByteStream) {
    self.server = server
    self.home = home
    self.entrance = entrance
    identity = (stream as? TLSStream)?.identity
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
      // What there is of the headers may lack anything, so this is no call.
      return stream.sendHeaders(
        ResponseFields.refusal(
          RPCError(
            .resourceExhausted,
            "The request's headers are over the limit of "
              + "\(server.configuration.http2.maximumHeaderListBytes) bytes."),
          httpStatus: "431", limits: ResponseFields.Limits(server.configuration)),
        endStream: true)
    }
    let head = RequestHead(request, router: entrance.router, userAgent: &lastUserAgent)
    guard head.isGRPC else {
      if head.isGet, let route = entrance.plainRoutes[head.path] { return route.serve(stream) }
      return stream.sendHeaders(ResponseFields.plain(status: "415"), endStream: true)
    }
    guard head.isPost else {
      return stream.sendHeaders(
        ResponseFields.plain(status: "405", allow: "POST"), endStream: true)
    }
    let entry = head.entry ?? entrance.router.unknown
    let refusal = head.entry == nil ? entrance.refusal(of: head.path) : nil
    let context = ServerContext(
      method: head.entry?.method ?? MethodDescriptor(unknownPath: head.path),
      metadata: head.metadata, peer: connection.peer, identity: identity,
      deadline: head.timeout.map(Deadline.init(after:)))
    let call = ServerCall(
      server: server, home: home, origin: self, stream: stream, context: context, entry: entry,
      encodings: head.encodings)
    stream.handler = call
    call.start(timeout: head.timeout, refusal: refusal ?? head.refusal)
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

extension MethodDescriptor {
  /// A method that this server does not have, for the log.
  fileprivate init(unknownPath path: String) {
    let parts = path.prefix(256).split(separator: "/", maxSplits: 1)
    self.init(
      service: parts.first.map(String.init) ?? "", name: parts.count == 2 ? String(parts[1]) : "",
      kind: .unary)
  }
}
