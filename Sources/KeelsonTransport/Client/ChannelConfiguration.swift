/// What a channel may be told, with defaults for services on one network.
public struct ChannelConfiguration: Sendable, Hashable {
  /// How long one address may take to accept a connection and speak HTTP/2 on it. Where a name
  /// has several addresses, each has this long in its turn.
  public var connectTimeout: Duration = .seconds(20)
  /// How long to wait between attempts to connect.
  public var backoff = ConnectionBackoff()
  /// A server from which nothing came for this long is pinged; nil: never. Servers refuse
  /// clients that ping more often than they allow, every 10 seconds for Keelson's.
  public var keepaliveInterval: Duration?
  /// A server that does not answer a ping within this time is given up.
  public var keepaliveTimeout: Duration = .seconds(20)
  /// Whether to ping while there is no call.
  public var keepsAliveWithoutCalls = false
  /// A connection without a call for this long is closed; the next call makes a new one.
  /// nil: never.
  public var idleTimeout: Duration?
  /// The timeout of unary calls that set none; nil: none.
  public var unaryTimeout: Duration? = .seconds(30)
  /// A longer response message fails its call with RESOURCE_EXHAUSTED.
  public var maximumResponseBytes = 4 * 1024 * 1024
  /// How many received bytes a call holds for a reader that is not there, beside the window below.
  public var responseQueueBytes = 64 * 1024
  /// How many bytes of a response the server may send before they are taken in.
  public var streamWindowBytes = 256 * 1024
  /// The same for all calls of a connection together.
  public var connectionWindowBytes = 4 * 1024 * 1024
  /// How many bytes of request messages are kept, so that a call which the server refused without
  /// looking at it can be repeated. A call that has sent more is not repeated.
  public var replayBytes = 256 * 1024
  /// What the server's log says about this client.
  public var userAgent = "keelson-swift/0.1.0"

  public init() {}

  /// The limits of a connection of this channel.
  func limits(keepaliveInterval: Duration?) -> HTTP2Limits {
    var limits = HTTP2Limits.client
    limits.prefaceTimeout = connectTimeout
    limits.keepaliveInterval = keepaliveInterval
    limits.keepaliveTimeout = keepaliveTimeout
    limits.keepsAliveWithoutStreams = keepsAliveWithoutCalls
    limits.idleTimeout = idleTimeout
    limits.streamWindowBytes = streamWindowBytes
    limits.connectionWindowBytes = connectionWindowBytes
    return limits
  }
}
