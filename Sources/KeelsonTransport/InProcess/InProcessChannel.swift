package import KeelsonCore
import Synchronization

/// A channel to routes in this very process, without sockets or loops: for tests of services,
/// and for tools that hold a service themselves.
///
/// Calls behave as they do over the wire: metadata passes through its encoding, errors arrive
/// with their status, trailing metadata and encoded details only, queues between the two sides
/// are bounded, deadlines and cancellation reach the handler.
package final class InProcessChannel: Channel {
  /// The limits of a channel.
  package struct Configuration: Sendable {
    /// A longer message fails its call with RESOURCE_EXHAUSTED.
    package var maximumMessageBytes = 4 * 1024 * 1024
    /// How much one direction of a call holds before its sender has to wait.
    package var queueBytes = 64 * 1024
    /// The timeout of unary calls that set none; nil: none.
    package var unaryTimeout: Duration?

    package init() {}
  }

  private struct State {
    var exchanges: [ObjectIdentifier: InProcessExchange] = [:]
    var isShutDown = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  private let routes: [String: Route]
  private let configuration: Configuration
  private let logger: Logger
  private let state = Mutex(State())

  package init(
    routes: [Route], configuration: Configuration = Configuration(), logger: Logger = .silent
  ) {
    self.routes = Dictionary(routes.map { ($0.method.path, $0) }) { first, _ in first }
    self.configuration = configuration
    self.logger = logger
  }

  package func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    let timeout = options.timeout ?? (method.kind == .unary ? configuration.unaryTimeout : nil)
    let exchange = InProcessExchange(
      maximumMessageBytes: configuration.maximumMessageBytes, queueBytes: configuration.queueBytes)
    let call = InProcessCall(exchange)
    do throws(RPCError) {
      let metadata = try Self.overTheWire(options.metadata)
      if let timeout, timeout <= .zero { throw RPCError.deadlinePassed }
      guard let route = routes[method.path] else { throw Self.unknown(method) }
      guard register(exchange) else {
        throw RPCError(.unavailable, "The in-process channel was shut down.")
      }
      let context = ServerContext(
        method: route.method, metadata: metadata, peer: "inprocess:",
        deadline: timeout.map(Deadline.init(after:)),
        correlation: .given(metadata["x-correlation-id"] ?? UUIDv7.make()))
      exchange.start(route, context, logger: logger) { [self] in unregister(exchange) }
    } catch {
      exchange.settle(.failed(error), discarding: true)
    }
    return call
  }

  /// Cancels the calls under way and waits until their handlers have returned. Later calls fail
  /// with UNAVAILABLE.
  package func shutdown() async {
    let exchanges = state.withLock { state in
      state.isShutDown = true
      return Array(state.exchanges.values)
    }
    for exchange in exchanges {
      exchange.settle(
        .failed(RPCError(.cancelled, "The in-process channel was shut down.")), discarding: true)
    }
    await withCheckedContinuation { continuation in
      let isDone = state.withLock { state in
        if state.exchanges.isEmpty { return true }
        state.waiting.append(continuation)
        return false
      }
      if isDone { continuation.resume() }
    }
  }

  private func register(_ exchange: InProcessExchange) -> Bool {
    state.withLock { state in
      guard !state.isShutDown else { return false }
      state.exchanges[ObjectIdentifier(exchange)] = exchange
      return true
    }
  }

  private func unregister(_ exchange: InProcessExchange) {
    let waiting = state.withLock { state in
      state.exchanges[ObjectIdentifier(exchange)] = nil
      guard state.exchanges.isEmpty else { return [CheckedContinuation<Void, Never>]() }
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  private static func unknown(_ method: MethodDescriptor) -> RPCError {
    RPCError(.unimplemented, "The server has no method \(method.path).")
  }

  /// The metadata as it arrives after a journey over HTTP/2.
  static func overTheWire(_ metadata: Metadata) throws(RPCError) -> Metadata {
    guard !metadata.isEmpty else { return metadata }
    var arrived = Metadata()
    try MetadataCodec.encode(metadata) { name, value in
      MetadataCodec.add(name: name.utf8Span.span, value: value.utf8Span.span, to: &arrived)
    }
    return arrived
  }
}
