package import KeelsonCore
import Synchronization

/// Serves gRPC calls on TCP and Unix sockets.
///
/// Life: made, ``start()``, ``drain(grace:)``, each once.
package final class Server: Sendable {
  private let core: ServerCore
  private let group: LoopGroup
  private let ownsLoops: Bool
  private let homes: [ServerLoop]

  /// - Parameters:
  ///   - encodeDetails: puts the typed details of the transport's own errors into the form that is
  ///     sent; the transport knows no messages.
  ///   - loops: where to serve, for their owner to stop after ``drain(grace:)``; nil: on loops of
  ///     its own.
  /// - Precondition: no two routes have the same path.
  package init(
    configuration: ServerConfiguration, routes: [Route],
    interceptors: [ServerInterceptor] = [.correlation()],
    plainRoutes: [PlainRoute] = [],
    encodeDetails: @escaping @Sendable (RPCError) -> RPCError = { $0 },
    loops: LoopGroup? = nil, logger: Logger
  ) {
    let all = Router(routes, interceptors)
    let plainByPath = Dictionary(plainRoutes.map { ($0.path, $0) }) { first, _ in first }
    let core = ServerCore(
      configuration: configuration,
      entrances: configuration.listeners.map {
        Entrance($0, all: all, plainRoutes: plainByPath)
      },
      encodeDetails: encodeDetails, logger: logger)
    self.core = core
    let group = loops ?? LoopGroup(count: configuration.loopCount)
    self.group = group
    ownsLoops = loops == nil
    homes = group.loops.map { ServerLoop(loop: $0, server: core, loopCount: group.loops.count) }
  }

  /// The loops that serve, for other work that should live on them.
  package var loops: LoopGroup { group }

  /// Listens on all addresses and begins to serve.
  ///
  /// - Returns: the addresses, in order; a port of 0 has become the one it got.
  /// - Throws: ``SocketError`` for the first address that cannot be had; the server has then
  ///   ended.
  package func start() async throws -> [BoundAddress] {
    FreedMemory.keep()
    let home = homes[0]
    let result = await home.loop.call { [core, homes] in
      home.listen(core.entrances, homes: homes)
    }
    switch result {
    case .success(let addresses): return addresses
    case .failure(let error):
      if ownsLoops { await group.stop() }
      throw error
    }
  }

  /// Ends in order: no new connections nor calls; calls under way have `grace` to finish and are
  /// then cancelled with UNAVAILABLE. Returns when all is closed and its own threads have ended.
  package func drain(grace: Duration) async {
    let cancellationGrace = core.configuration.cancellationGrace
    await homes[0].loop.call { [home = homes[0]] in home.stopListening() }
    // Connections that were accepted and not handed over yet stand in the mailboxes ahead.
    for home in homes { home.loop.execute { home.drain(grace, cancellationGrace) } }
    for home in homes { await home.drained.wait() }
    if ownsLoops { await group.stop() }
  }
}

/// What all connections of a server share.
final class ServerCore: Sendable {
  let configuration: ServerConfiguration
  /// One for each listener.
  let entrances: [Entrance]
  let logger: Logger
  private let encodeDetails: @Sendable (RPCError) -> RPCError
  /// What calls beyond a limit get, made once: refusing must cost less than serving.
  let overloaded: RPCError
  let connectionOverloaded: RPCError
  let requestBufferFull: RPCError
  let sendQueueFull: RPCError
  /// Without RetryInfo: what the call did is done.
  let answerDropped = RPCError(
    .resourceExhausted,
    "The call was served, but its answer was dropped: too many bytes wait to be sent on this "
      + "connection. Read the answers.")
  private let runningCalls = Atomic<Int>(0)
  private let connections = Mutex(ConnectionCounts())

  init(
    configuration: ServerConfiguration, entrances: [Entrance],
    encodeDetails: @escaping @Sendable (RPCError) -> RPCError, logger: Logger
  ) {
    self.configuration = configuration
    self.entrances = entrances
    self.logger = logger
    self.encodeDetails = encodeDetails
    func overload(_ what: String) -> RPCError {
      encodeDetails(
        RPCError(
          .resourceExhausted, what + " Try again later.",
          details: [.retryInfo(configuration.overloadRetryDelay)]))
    }
    overloaded = overload(
      "The server runs as many calls as it may (\(configuration.maximumRunningCalls)).")
    connectionOverloaded = overload(
      "This connection runs as many calls as it may "
        + "(\(configuration.maximumRunningCallsPerConnection)).")
    requestBufferFull = overload(
      "Too many bytes of requests that are not complete wait in the server, or on this connection.")
    sendQueueFull = overload(
      "Too many bytes wait to be sent on this connection: read the answers first.")
  }

  /// An error with its details in the form that is sent.
  func encoded(_ error: RPCError) -> RPCError {
    guard !error.details.isEmpty, error.encodedStatus == nil else { return error }
    return encodeDetails(error)
  }

  /// Counts a call; false when there are too many.
  func admitCall() -> Bool {
    let count = runningCalls.wrappingAdd(1, ordering: .relaxed).newValue
    if count <= configuration.maximumRunningCalls { return true }
    runningCalls.wrappingSubtract(1, ordering: .relaxed)
    return false
  }

  func callEnded() {
    runningCalls.wrappingSubtract(1, ordering: .relaxed)
  }

  /// Counts a connection, unless there are too many.
  func admitConnection(_ peer: String) -> ConnectionCounts.Refusal? {
    connections.withLock { $0.admit(peer, configuration) }
  }

  func connectionEnded(_ peer: String) {
    connections.withLock { $0.ended(peer) }
  }
}
