import Glibc
import KeelsonCore

/// What a server has on one loop: the connections that live there, and on the first loop the
/// listeners.
///
/// `@unchecked Sendable`: everything but the constants is touched on the loop only.
final class ServerLoop: @unchecked Sendable {
  let loop: Loop
  /// Happens when a drain is done.
  let drained = Ended()
  private let server: ServerCore
  private var connections: [ServerConnection] = []
  /// Connections that do not speak HTTP/2 yet.
  private var handshakes: [ObjectIdentifier: TLSStream] = [:]
  /// How many handshakes that fail are logged: some at once, and a few each second.
  private var handshakeLog = TokenBucket(burst: 50, perSecond: 5, now: 0)
  private var unloggedFailures = 0
  private var listeners: [Listener] = []
  /// Calls whose handlers have not returned.
  private var runningCalls = 0
  private var isDraining = false
  /// Bytes of requests of this loop's calls that no handler has taken.
  @safe @exclusivity(unchecked) var heldRequestBytes = 0
  /// This loop's share of what the server may hold and queue.
  let requestBufferBytes: Int
  let sendQueueBytes: Int
  private var refusedConnections = RareEvent()
  private var refusedCalls = RareEvent()
  private var misbehavingPeers = RareEvent()
  private var turn = 0

  /// - Parameter loopCount: how many loops the server has.
  init(loop: Loop, server: ServerCore, loopCount: Int) {
    self.loop = loop
    self.server = server
    requestBufferBytes = server.configuration.requestBufferBytes / loopCount
    sendQueueBytes = server.configuration.sendQueueBytes / loopCount
  }

  // MARK: Listening

  /// Listens on all addresses, or on none.
  func listen(_ entrances: [Entrance], homes: [ServerLoop]) -> Result<
    [BoundAddress], SocketError
  > {
    loop.onStop { [self] in
      stopListening()
      closeAll()
    }
    for home in homes where home !== self {
      home.loop.execute { home.loop.onStop { home.closeAll() } }
    }
    do throws(SocketError) {
      for entrance in entrances {
        listeners.append(
          try Listener(
            entrance.listener.address, unixPermissions: server.configuration.unixPermissions,
            on: loop,
            logger: server.logger))
      }
    } catch {
      stopListening()
      return .failure(error)
    }
    for (listener, entrance) in zip(listeners, entrances) {
      listener.start { [self] fileDescriptor, peer in
        accepted(fileDescriptor, peer: peer, entrance, homes: homes)
      }
    }
    return .success(listeners.map(\.address))
  }

  /// Gives a new connection to the loops in turn.
  private func accepted(
    _ fileDescriptor: Int32, peer: String, _ entrance: Entrance, homes: [ServerLoop]
  ) {
    if let refusal = server.admitConnection(peer) {
      _ = Glibc.close(fileDescriptor)
      return logRefusal(refusal, peer: peer)
    }
    if !peer.hasPrefix("unix:") {
      Socket.setOption(fileDescriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }
    let home = homes[turn % homes.count]
    turn += 1
    home.loop.run { home.adopt(fileDescriptor, peer: peer, entrance) }
  }

  private func logRefusal(_ refusal: ConnectionCounts.Refusal, peer: String) {
    guard let count = refusedConnections.count(now: loop.now) else { return }
    let text =
      switch refusal {
      case .tooMany(let limit): "there are \(limit) already"
      case .tooManyFromAddress(let limit): "its address has \(limit) already"
      }
    server.logger.log(
      .warning, "A connection was refused: \(text).", ["peer": peer, "refused": "\(count)"])
  }

  /// Each of them at debug, one a second at info.
  func logMisbehaviour(_ reason: HTTP2CloseReason, peer: String) {
    guard let count = misbehavingPeers.count(now: loop.now) else {
      return server.logger.log(.debug, reason.message, ["peer": peer])
    }
    server.logger.log(.info, reason.message, ["peer": peer, "connections": "\(count)"])
  }

  func logOverload(_ error: RPCError, peer: String) {
    guard let count = refusedCalls.count(now: loop.now) else { return }
    server.logger.log(
      .warning, "A call was refused: \(error.message)", ["peer": peer, "refused": "\(count)"])
  }

  private func adopt(_ fileDescriptor: Int32, peer: String, _ entrance: Entrance) {
    guard !isDraining else {
      _ = Glibc.close(fileDescriptor)
      return server.connectionEnded(peer)
    }
    do throws(SocketError) {
      let socket = try Socket(adopting: fileDescriptor, peer: peer, on: loop)
      switch entrance.listener.security {
      case .plaintext: serve(socket, entrance)
      case .tls(let certificates): secure(socket, certificates.context, entrance)
      }
    } catch {
      server.connectionEnded(peer)
      server.logger.log(.warning, error.message, ["peer": peer])
    }
  }

  private func serve(_ stream: any ByteStream, _ entrance: Entrance) {
    let connection = ServerConnection(
      server: server, home: self, entrance: entrance, stream: stream)
    connection.index = connections.count
    connections.append(connection)
    connection.connection?.start()
  }

  /// Serves a connection once its TLS handshake is done. Until then it is counted, has no HTTP/2
  /// session, and keeps nobody from draining.
  private func secure(_ socket: Socket, _ context: TLSServerContext, _ entrance: Entrance) {
    do throws(TLSError) {
      let stream = try TLSStream(.server(context), over: socket, on: loop)
      handshakes[ObjectIdentifier(stream)] = stream
      stream.handshake(timeout: server.configuration.tlsHandshakeTimeout) {
        [self, unowned stream] outcome in
        let stream = handshakes.removeValue(forKey: ObjectIdentifier(stream)) ?? stream
        switch outcome {
        case .success: serve(stream, entrance)
        case .failure(let error):
          stream.close()
          server.connectionEnded(stream.peer)
          logFailure(error, peer: stream.peer)
        }
      }
    } catch {
      socket.close()
      server.connectionEnded(socket.peer)
      server.logger.log(.warning, error.message, ["peer": socket.peer])
    }
  }

  /// At most so often: whoever floods with handshakes must not flood the log.
  private func logFailure(_ error: TLSError, peer: String) {
    guard handshakeLog.take(now: loop.now) else {
      unloggedFailures += 1
      return
    }
    server.logger.log(
      .info, error.message, ["peer": peer, "not_logged_before": "\(unloggedFailures)"])
    unloggedFailures = 0
  }

  private func abandonHandshakes() {
    for stream in handshakes.values {
      stream.close()
      server.connectionEnded(stream.peer)
    }
    handshakes = [:]
  }

  func remove(_ connection: ServerConnection) {
    server.connectionEnded(connection.peer)
    let last = connections.removeLast()
    if last !== connection {
      connections[connection.index] = last
      last.index = connection.index
    }
    finishDrainIfDone()
  }

  func callBegan() { runningCalls += 1 }

  func callEnded() {
    runningCalls -= 1
    finishDrainIfDone()
  }

  private func finishDrainIfDone() {
    if isDraining, connections.isEmpty, runningCalls == 0 { drained.signal() }
  }

  // MARK: Ending

  func stopListening() {
    for listener in listeners { listener.close() }
    listeners = []
  }

  /// Has the connections end in order, within the grace time; then ends them. A handler may
  /// outlive its stream: it is waited for too, but not for ever.
  func drain(_ grace: Duration, _ cancellationGrace: Duration) {
    isDraining = true
    abandonHandshakes()
    guard !connections.isEmpty || runningCalls > 0 else { return drained.signal() }
    for connection in connections { connection.connection?.shutDown() }
    _ = loop.schedule(after: grace) { [self] in
      for connection in connections {
        connection.cancelCalls(
          RPCError(
            .unavailable, "The server shuts down.",
            details: [.retryInfo(server.configuration.overloadRetryDelay)]))
      }
      _ = loop.schedule(after: cancellationGrace) { [self] in
        closeAll()
        _ = loop.schedule(after: cancellationGrace) { [self] in giveUpHandlers() }
      }
    }
  }

  private func giveUpHandlers() {
    if runningCalls > 0 {
      server.logger.log(
        .warning, "Calls were left running at the end: their handlers do not heed cancellation.",
        ["calls": "\(runningCalls)"])
    }
    drained.signal()
  }

  private func closeAll() {
    abandonHandshakes()
    for connection in connections {
      connection.connection?.close(HTTP2CloseReason(.closedHere, "The server shut down."))
    }
  }
}

extension Loop {
  /// Runs something on the loop's thread and waits for its outcome. The loop must not have
  /// ended.
  func call<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      execute { continuation.resume(returning: body()) }
    }
  }
}

/// What is worth a line in the log once a second at most: whoever floods the server must not flood
/// its log.
struct RareEvent {
  private static let intervalMilliseconds: UInt64 = 1_000
  private var count = 0
  private var last: UInt64?

  /// Counts one; how many came since the last line, when it is time for one.
  mutating func count(now: UInt64) -> Int? {
    count += 1
    if let last, now - min(now, last) < Self.intervalMilliseconds { return nil }
    defer { count = 0 }
    last = now
    return count
  }
}
