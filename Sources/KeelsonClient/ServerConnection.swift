import KeelsonCore
import KeelsonTransport
import Synchronization

/// A client's own connection to its server, with the thread it lives on. Closes when nothing
/// refers to it any more, or by ``shutdown()``.
final class ServerConnection: Channel {
  private let channel: HTTP2Channel
  private let loops: LoopGroup
  private let isShutDown = Atomic(false)

  init(_ configuration: KeelsonClient.Configuration) throws(RPCError) {
    let target = try Target(configuration.server)
    var settings = ChannelConfiguration()
    settings.backoff = configuration.connectionBackoff
    settings.connectTimeout = configuration.connectTimeout
    settings.keepaliveInterval = configuration.keepalive.interval
    settings.keepaliveTimeout = configuration.keepalive.timeout
    settings.maximumResponseBytes = configuration.maximumMessageBytes
    settings.unaryTimeout = configuration.defaultTimeout
    settings.resolver = configuration.resolver
    settings.resolutionInterval = configuration.resolutionInterval
    settings.loadBalancingPolicy = configuration.loadBalancing
    settings.serviceConfig = configuration.serviceConfig
    settings.compressesRequests = configuration.compressesRequests
    if !configuration.userAgent.isEmpty {
      settings.userAgent = "\(configuration.userAgent) \(settings.userAgent)"
    }
    let tls: TLSClientContext?
    do throws(TLSError) {
      tls = try configuration.tls.map { configuration throws(TLSError) in
        try TLSClientContext(configuration, target: target)
      }
    } catch {
      throw RPCError(.invalidArgument, error.message, cause: error.cause)
    }
    loops = LoopGroup(count: 1)
    channel = try HTTP2Channel(
      target: target, configuration: settings, tls: tls, loops: loops)
  }

  deinit {
    guard !isShutDown.load(ordering: .relaxed) else { return }
    Task { [channel, loops] in await Self.close(channel, loops) }
  }

  func startCall(_ method: MethodDescriptor, options: CallOptions) -> any ClientCall {
    channel.startCall(method, options: options)
  }

  func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions) async throws
    -> UnaryReply
  {
    try await channel.unary(method, request, options: options)
  }

  /// Whether the last attempt to connect has failed and no other has succeeded since.
  var isOutOfReach: Bool { channel.state == .transientFailure }

  /// Cancels the calls under way, closes the connection and ends its thread. Calling it again
  /// does nothing.
  func shutdown() async {
    guard !isShutDown.exchange(true, ordering: .relaxed) else { return }
    await Self.close(channel, loops)
  }

  private static func close(_ channel: HTTP2Channel, _ loops: LoopGroup) async {
    await channel.shutdown(grace: .zero)
    await loops.stop()
  }
}
