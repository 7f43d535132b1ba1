/// What one HTTP/2 connection allows its peer, and how long it waits for it.
package struct HTTP2Limits: Sendable, Hashable {
  // MARK: Sizes

  /// How many bytes of a stream's body the peer may send before they are consumed.
  package var streamWindowBytes = 256 * 1024
  /// The same for all streams of a connection together.
  package var connectionWindowBytes = 4 * 1024 * 1024
  /// How many streams a client may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS).
  package var maximumConcurrentStreams = 1_000
  /// The size of a request's or response's header list, as RFC 9113 section 6.5.2 counts it:
  /// names, values, and 32 bytes each. Announced, and enforced.
  package var maximumHeaderListBytes = 16 * 1024
  /// A stream's writers wait while more than this many bytes are queued on it…
  package var streamHighWatermarkBytes = 64 * 1024
  /// …until no more than this many are.
  package var streamLowWatermarkBytes = 16 * 1024
  /// With more than this queued on all streams of a connection together it is given no new calls.
  package var connectionSendQueueBytes = 64 * 1024 * 1024
  /// How much is gathered for one write to the socket.
  package var sendBatchBytes = 128 * 1024
  /// How many control frames may wait to be sent before the connection is given up as flooded.
  package var maximumQueuedControlFrames = 10_000

  // MARK: Rates

  /// A peer that resets streams has this many resets free…
  package var streamResetBurst = 5_000
  /// …and gains this many each second (CVE-2023-44487). Clients that cancel a lot, by hedging or
  /// short deadlines, stay below; what a reset costs us is bounded by the limit on running calls.
  package var streamResetsPerSecond = 500
  /// Frames that carry nothing (``IdleFrames/Kind``): of each kind this many are free…
  package var idleFrameBurst = 1_000
  /// …and this many each second more (CVE-2019-9512 to 9518, CVE-2025-8671).
  package var idleFramesPerSecond = 100
  /// CONTINUATION frames of one header block (CVE-2024-28182).
  package var maximumContinuationFrames = 8
  /// Parameters in one SETTINGS frame.
  package var maximumSettingsPerFrame = 32
  /// Acknowledgements of PING and SETTINGS that wait to be sent.
  package var maximumQueuedAcknowledgements = 1_000
  /// A client that pings more often than this gets a strike, unless data was sent to it in
  /// between. Source: grpc/grpc `doc/keepalive.md`, which says 5 minutes; clients in the field
  /// ping every 30 seconds.
  package var minimumPingInterval: Duration = .seconds(10)
  /// With more strikes than this the connection ends with ENHANCE_YOUR_CALM "too_many_pings".
  package var maximumPingStrikes = 2

  // MARK: Times

  /// From the start of the connection to the peer's preface and first SETTINGS.
  package var prefaceTimeout: Duration = .seconds(10)
  /// How long a header block may take from its first byte to its last.
  package var headersTimeout: Duration = .seconds(10)
  /// A stream that has something to send and to which the peer gave no window for this long is
  /// reset; nil: never.
  package var streamStallTimeout: Duration? = .seconds(120)
  /// How long the peer may take to accept what is written to it at once (`sendBatchBytes`).
  package var writeTimeout: Duration = .seconds(30)
  /// A connection without a stream for this long is closed; nil: never.
  package var idleTimeout: Duration?
  /// A peer from which nothing came for this long is pinged; nil: never.
  package var keepaliveInterval: Duration?
  /// How long the answer to such a ping may take.
  package var keepaliveTimeout: Duration = .seconds(20)
  /// Whether to ping while no stream is open.
  package var keepsAliveWithoutStreams = true
  /// How long the first, warning GOAWAY of a graceful shutdown stands before the second says
  /// which streams are still served, if the peer does not answer the ping sent along with it.
  package var shutdownNoticeTimeout: Duration = .seconds(1)

  package init() {}

  /// What a server allows.
  package static var server: HTTP2Limits {
    var limits = HTTP2Limits()
    limits.keepaliveInterval = .seconds(7_200)
    limits.idleTimeout = .seconds(3_600)
    return limits
  }

  /// What a client allows.
  package static var client: HTTP2Limits { HTTP2Limits() }
}
