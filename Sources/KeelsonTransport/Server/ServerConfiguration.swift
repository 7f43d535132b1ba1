/// How a ``Server`` listens, and what it allows.
package struct ServerConfiguration: Sendable {
  /// Where to listen; all of them, or the start fails.
  package var listeners: [ListenerConfiguration]
  /// How many threads serve connections; nil: one per core.
  package var loopCount: Int?
  /// The mode of a Unix socket's file: 0o600 (this user) to 0o660 (and its group).
  package var unixPermissions: UInt32 = 0o600
  /// What each connection allows.
  package var http2 = HTTP2Limits.server
  /// Connections beyond this many are closed as soon as they are accepted.
  package var maximumConnections = 10_000
  /// The same for those from one address of another machine. An IPv6 network of 64 bits counts as
  /// one address, Unix sockets have none.
  package var maximumConnectionsPerAddress = 1_000
  /// The same for one of this machine's own addresses.
  package var maximumConnectionsPerLoopbackAddress = 10_000
  /// Calls whose handlers run at once; more get RESOURCE_EXHAUSTED. It counts handlers, not
  /// streams: a peer that opens and resets streams cannot pile up work.
  package var maximumRunningCalls = 50_000
  /// The same for one connection. More than a connection has streams, since a handler may go on
  /// for a moment after its stream was reset.
  package var maximumRunningCallsPerConnection = 2_000
  /// When a call that was refused for such a limit, or cut off by a drain, may be tried again, as
  /// its RetryInfo says.
  package var overloadRetryDelay: Duration = .seconds(1)
  /// A longer request message gets RESOURCE_EXHAUSTED as soon as its length is known.
  package var maximumRequestMessageBytes = 4 * 1024 * 1024
  /// From a message's first byte to its last, and for a unary call from its headers to the end of
  /// its request. Then the call ends with DEADLINE_EXCEEDED.
  package var requestMessageTimeout: Duration = .seconds(120)
  /// How many bytes of requests one connection may have the server hold that no handler has taken:
  /// parts of messages above all. A call that goes past it gets RESOURCE_EXHAUSTED.
  package var connectionRequestBufferBytes = 64 * 1024 * 1024
  /// The same for all connections together; shared evenly by the loops.
  package var requestBufferBytes = 512 * 1024 * 1024
  /// With more than this waiting to be sent on all connections together, those that have a part in
  /// it (a 64th of `connectionSendQueueBytes`) are given no new calls; shared evenly by the loops.
  package var sendQueueBytes = 1024 * 1024 * 1024
  /// Responses shorter than this are never compressed: there is little to gain.
  package var compressionThresholdBytes = 1_024
  /// A status message is cut to this many bytes, so that it fits the caller's header limit.
  package var maximumStatusMessageBytes = 2_048
  /// A `google.rpc.Status` of more bytes than this, before base64, is not sent: the status goes
  /// out without it.
  package var maximumStatusDetailsBytes = 4_096
  /// How long a client may take from connecting to the end of its TLS handshake.
  package var tlsHandshakeTimeout: Duration = .seconds(10)
  /// How long handlers may take to notice that they were cancelled, once the grace time of a
  /// drain is over.
  package var cancellationGrace: Duration = .seconds(1)

  package init(listeners: [ListenerConfiguration]) {
    self.listeners = listeners
  }

  /// The addresses of the listeners; setting them makes listeners without TLS that serve all.
  package var addresses: [ListenAddress] {
    get { listeners.map(\.address) }
    set { listeners = newValue.map { ListenerConfiguration($0) } }
  }

  /// Without TLS, with everything served everywhere.
  package init(addresses: [ListenAddress]) {
    self.init(listeners: addresses.map { ListenerConfiguration($0) })
  }
}
