/// What a channel may be told, with defaults for services on one network.
/// ``validate()`` looks whether it can be used; making a channel does so.
public struct ChannelConfiguration: Sendable {
  // MARK: Addresses

  /// Where the addresses come from; nil: from the target itself, names by the system's resolver.
  public var resolver: (any AddressResolver)?
  /// The least time between two resolutions of a name, from start to start, unless one fails or
  /// the resolver itself says that addresses have changed.
  public var resolutionInterval: Duration = .seconds(30)
  /// Of more addresses than this the first are used.
  public var maximumAddresses = 128
  /// How several addresses are used, if the service config does not say.
  public var loadBalancingPolicy = LoadBalancingPolicy.pickFirst
  /// How long an address may not answer before pick first tries the next one beside it; at least
  /// 10 ms. Source: RFC 8305 section 5, which calls it the Connection Attempt Delay.
  public var connectionAttemptDelay: Duration = .milliseconds(250)

  // MARK: Connections

  /// How long an address may take to accept a connection and speak HTTP/2 on it; and a name to be
  /// resolved.
  public var connectTimeout: Duration = .seconds(20)
  /// How long to wait between attempts to connect to one address, and between resolutions that
  /// fail.
  public var backoff = ConnectionBackoff()
  /// A server from which nothing came for this long is pinged; nil: never, and a server that
  /// vanishes without a word is found out by the calls' deadlines only. Servers refuse clients
  /// that ping more often than they allow, every 10 seconds for Keelson's.
  public var keepaliveInterval: Duration?
  /// A server that does not answer a ping within this time is given up. With a keepalive interval
  /// the operating system is told as well, for bytes that are not acknowledged (TCP_USER_TIMEOUT).
  public var keepaliveTimeout: Duration = .seconds(20)
  /// Whether to ping while there is no call.
  public var keepsAliveWithoutCalls = false
  /// A channel without a call for this long closes its connections; the next call makes new ones.
  /// nil: never.
  public var idleTimeout: Duration?
  /// What the server's log says about this client.
  public var userAgent = "keelson-swift/0.1.0"

  // MARK: Calls

  /// The timeout of unary calls that set none, and whose service config sets none; nil: none.
  public var unaryTimeout: Duration? = .seconds(30)
  /// Timeouts, limits and retries of methods; see ``ServiceConfig/retryingIdempotentMethods``.
  public var serviceConfig = ServiceConfig()
  /// A longer request message fails its call with RESOURCE_EXHAUSTED before any of it is sent. The
  /// protocol ends at 4 GiB.
  public var maximumRequestBytes = Int(UInt32.max)
  /// A longer response message, decompressed, fails its call with RESOURCE_EXHAUSTED.
  public var maximumResponseBytes = 4 * 1024 * 1024
  /// Whether request messages are sent compressed (gzip), for calls that do not say.
  public var compressesRequests = false
  /// Shorter request messages are never compressed: they would not become smaller by enough.
  public var compressionThresholdBytes = 1_024

  // MARK: Memory

  /// How many received bytes a call holds for a reader that is not there, beside the window below.
  public var responseQueueBytes = 64 * 1024
  /// How many bytes of a response the server may send before they are taken in.
  public var streamWindowBytes = 256 * 1024
  /// The same for all calls of a connection together.
  public var connectionWindowBytes = 4 * 1024 * 1024
  /// How many bytes of its request messages a streaming call keeps until the response begins, so
  /// that it can be tried again. A call that has sent more is not. (A unary call's request stays
  /// in memory as long as the call; it needs no room here.)
  public var replayBytes = 256 * 1024
  /// The same for all streaming calls of the channel together.
  public var channelReplayBytes = 16 * 1024 * 1024

  public init() {}

  /// The limits of a connection of this channel.
  func limits(keepaliveInterval: Duration?) -> HTTP2Limits {
    var limits = HTTP2Limits.client
    // A server that takes its time is the deadline's business.
    limits.streamStallTimeout = nil
    limits.prefaceTimeout = connectTimeout
    limits.keepaliveInterval = keepaliveInterval
    limits.keepaliveTimeout = keepaliveTimeout
    limits.keepsAliveWithoutStreams = keepsAliveWithoutCalls
    limits.streamWindowBytes = streamWindowBytes
    limits.connectionWindowBytes = connectionWindowBytes
    return limits
  }
}
