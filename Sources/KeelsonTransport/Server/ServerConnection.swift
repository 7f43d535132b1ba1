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
  private let recorder: RequestRecorder
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
    recorder = RequestRecorder(entrance.router)
    connection = HTTP2Connection(
      role: .server, stream: stream, loop: loop, limits: server.configuration.http2, handler: self,
      requestRecorder: recorder)
  }

  func connection(
    _ connection: HTTP2Connection, recordsRequestOn stream: HTTP2Stream, isTooLarge: Bool
  ) {
    stream.handler = handler(of: stream, isTooLarge: isTooLarge, peer: connection.peer)
  }

  /// What serves the request whose headers have come.
  private func handler(
    of stream: HTTP2Stream, isTooLarge: Bool, peer: String
  ) -> any HTTP2StreamHandler {
    guard !isTooLarge else {
      // What there is of the headers may lack anything, so this is no call.
      let error = RPCError(
        .resourceExhausted,
        "The request's headers are over the limit of "
          + "\(server.configuration.http2.maximumHeaderListBytes) bytes.")
      return PlainRequest { [limits = ResponseFields.Limits(server.configuration)] stream in
        stream.sendHeaders(
          ResponseFields.refusal(error, httpStatus: "431", limits: limits), endStream: true)
      }
    }
    guard recorder.head.isGRPC else {
      if recorder.head.isGet, let route = entrance.plainRoutes[recorder.head.path] {
        return PlainRequest { [limit = server.configuration.http2.connectionSendQueueBytes] in
          // Who does not read the answers gets no more of them.
          guard let queued = unsafe $0.connection?.queuedBytes, queued <= limit / 64 else {
            return $0.sendHeaders(ResponseFields.plain(status: "503"), endStream: true)
          }
          route.serve($0)
        }
      }
      return PlainRequest {
        $0.sendHeaders(ResponseFields.plain(status: "415"), endStream: true)
      }
    }
    guard recorder.head.isPost else {
      return PlainRequest {
        $0.sendHeaders(ResponseFields.plain(status: "405", allow: "POST"), endStream: true)
      }
    }
    let timeout = recorder.head.timeout
    let entry = recorder.head.entry
    let context = ServerContext(
      method: entry?.method ?? MethodDescriptor(unknownPath: recorder.head.path),
      metadata: recorder.head.metadata, peer: peer, identity: identity,
      deadline: timeout.map(Deadline.init(after:)))
    return ServerCall(
      server: server, home: home, origin: self, stream: stream, context: context,
      entry: entry ?? entrance.router.unknown, encodings: recorder.head.encodings,
      timeout: timeout, refusal: recorder.head.isInOrder ? nil : refusal)
  }

  /// Why the request whose headers have come cannot become a call.
  private var refusal: RPCError? {
    if recorder.head.entry == nil, let refusal = entrance.refusal(of: recorder.head.path) {
      return refusal
    }
    return recorder.head.refusal
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
    case .peerMisbehaved, .timedOut: home.logMisbehaviour(reason, peer: connection.peer)
    default: server.logger.log(.debug, reason.message, ["peer": connection.peer])
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
