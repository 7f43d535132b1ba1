import KeelsonEvents
import KeelsonFlags
import KeelsonSQLite
import KeelsonTransport

extension ServerLimits {
  /// All of them, in the order that documents and help show. docs/operations.md has the same rows.
  package static let all: [ServerLimit] =
    connections + calls + messages + frames + times + service + events + database + audit
    + configuration + jobs + cache + redis

  private static let connections: [ServerLimit] = [
    count(
      "connections", \.transport.maximumConnections, 1...1_000_000,
      "connections", "closed when accepted"),
    count(
      "connections-per-address", \.transport.maximumConnectionsPerAddress, 1...1_000_000,
      "connections from one address; an IPv6 /64 is one", "closed when accepted"),
    count(
      "connections-per-loopback-address", \.transport.maximumConnectionsPerLoopbackAddress,
      1...1_000_000,
      "connections from one of this machine's own", "closed when accepted"),
    count(
      "streams-per-connection", \.transport.http2.maximumConcurrentStreams, 1...100_000,
      "streams open at once", "REFUSED_STREAM, or GOAWAY"),
  ]

  private static let calls: [ServerLimit] = [
    count(
      "running-calls", \.transport.maximumRunningCalls, 1...10_000_000,
      "calls whose handlers run", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "running-calls-per-connection", \.transport.maximumRunningCallsPerConnection, 1...1_000_000,
      "the same for one connection", "RESOURCE_EXHAUSTED with RetryInfo"),
    duration(
      "overload-retry-delay", \.transport.overloadRetryDelay, 0...3_600_000,
      "what the RetryInfo of an overload says", "nothing: clients wait that long"),
  ]

  private static let messages: [ServerLimit] = [
    size(
      "request-message-size", \.transport.maximumRequestMessageBytes, 1...1 << 30,
      "a request message", "RESOURCE_EXHAUSTED, at its length prefix"),
    duration(
      "request-message-timeout", \.transport.requestMessageTimeout, 1...86_400_000,
      "a request message, first byte to last", "DEADLINE_EXCEEDED"),
    size(
      "connection-request-buffer-size", \.transport.connectionRequestBufferBytes,
      1 << 10...1 << 40,
      "request bytes of a connection no handler has", "RESOURCE_EXHAUSTED with RetryInfo"),
    size(
      "request-buffer-size", \.transport.requestBufferBytes, 1 << 10...1 << 40,
      "the same for the server", "RESOURCE_EXHAUSTED with RetryInfo"),
    size(
      "header-list-size", \.transport.http2.maximumHeaderListBytes, 1 << 10...1 << 20,
      "a header list", "RESOURCE_EXHAUSTED with HTTP status 431"),
    size(
      "status-message-size", \.transport.maximumStatusMessageBytes, 1...8 << 10,
      "a status message that is sent", "the rest is cut off"),
    size(
      "status-details-size", \.transport.maximumStatusDetailsBytes, 0...8 << 10,
      "status details that are sent", "the status goes without them"),
    size(
      "stream-window-size", \.transport.http2.streamWindowBytes, 65_535...1 << 30,
      "request bytes of a stream not read yet", "FLOW_CONTROL_ERROR"),
    size(
      "connection-window-size", \.transport.http2.connectionWindowBytes, 65_535...1 << 30,
      "the same for a connection", "FLOW_CONTROL_ERROR"),
    size(
      "stream-send-queue-size", \.transport.http2.streamHighWatermarkBytes, 16 << 10...1 << 30,
      "response bytes that wait on a stream", "its handler waits"),
    size(
      "connection-send-queue-size", \.transport.http2.connectionSendQueueBytes,
      64 << 10...1 << 40,
      "the same for a connection", "new calls: RESOURCE_EXHAUSTED with RetryInfo"),
    size(
      "send-queue-size", \.transport.sendQueueBytes, 64 << 10...1 << 40,
      "the same for the server", "the same, on connections with a part in it"),
  ]

  private static let frames: [ServerLimit] = [
    count(
      "stream-reset-burst", \.transport.http2.streamResetBurst, 1...1_000_000,
      "streams that a client resets", "GOAWAY"),
    count(
      "stream-reset-rate", \.transport.http2.streamResetsPerSecond, 1...1_000_000,
      "so many more of them a second", "GOAWAY"),
    count(
      "idle-frame-burst", \.transport.http2.idleFrameBurst, 1...1_000_000,
      "frames that carry nothing, of each kind", "GOAWAY"),
    count(
      "idle-frame-rate", \.transport.http2.idleFramesPerSecond, 1...1_000_000,
      "so many more of them a second", "GOAWAY"),
    count(
      "continuation-frames", \.transport.http2.maximumContinuationFrames, 1...1_000,
      "CONTINUATION frames of a header block", "GOAWAY"),
    count(
      "settings-per-frame", \.transport.http2.maximumSettingsPerFrame, 6...1_000,
      "parameters of a SETTINGS frame", "GOAWAY"),
    count(
      "queued-acknowledgements", \.transport.http2.maximumQueuedAcknowledgements, 10...1_000_000,
      "answers to PING and SETTINGS that wait", "closed"),
    count(
      "queued-control-frames", \.transport.http2.maximumQueuedControlFrames, 10...1_000_000,
      "frames without data that wait", "GOAWAY"),
    duration(
      "ping-interval", \.transport.http2.minimumPingInterval, 0...86_400_000,
      "time between two pings by a client", "a strike"),
    count(
      "ping-strikes", \.transport.http2.maximumPingStrikes, 0...1_000,
      "strikes", "GOAWAY `too_many_pings`"),
  ]

  private static let times: [ServerLimit] = [
    duration(
      "tls-handshake-timeout", \.transport.tlsHandshakeTimeout, 1...86_400_000,
      "connect to the end of the TLS handshake", "closed"),
    duration(
      "preface-timeout", \.transport.http2.prefaceTimeout, 1...86_400_000,
      "connect to the first SETTINGS", "closed"),
    duration(
      "headers-timeout", \.transport.http2.headersTimeout, 1...86_400_000,
      "a header block, first byte to last", "GOAWAY `headers_timeout`"),
    duration(
      "write-timeout", \.transport.http2.writeTimeout, 1...86_400_000,
      "what is written at once, 128 KiB at most", "closed"),
    duration(
      "stream-stall-timeout", \.transport.http2.streamStallTimeout, 1...86_400_000,
      "a stream with bytes to send and no window", "the stream is reset"),
    duration(
      "keepalive-interval", \.transport.http2.keepaliveInterval, 1...86_400_000,
      "a silent peer", "it is pinged"),
    duration(
      "keepalive-timeout", \.transport.http2.keepaliveTimeout, 1...86_400_000,
      "the answer to that ping", "closed"),
    duration(
      "connection-idle-timeout", \.transport.http2.idleTimeout, 1...86_400_000,
      "a connection without a stream", "GOAWAY, then closed"),
    duration(
      "shutdown-notice-timeout", \.transport.http2.shutdownNoticeTimeout, 1...86_400_000,
      "the answer to a drain's first GOAWAY", "the second follows"),
    duration(
      "cancellation-grace", \.transport.cancellationGrace, 1...86_400_000,
      "handlers that a drain has cancelled", "their connections are closed"),
  ]

  private static let service: [ServerLimit] = [
    count(
      "watch-streams", \.flags.subscribers, 1...10_000_000,
      "watches of flags", "RESOURCE_EXHAUSTED"),
    duration(
      "watch-heartbeat-interval", \.flags.heartbeatInterval, 1...3_600_000,
      "a watch of flags without a word", "a heartbeat"),
    count(
      "changes-behind", \.flags.changesBehind, 1...1_000_000,
      "changes a watch may resume across or lag", "a fresh snapshot"),
    size(
      "changes-behind-size", \.flags.changeBytesBehind, 1 << 10...1 << 30,
      "the same in bytes, kept per environment", "a fresh snapshot"),
    count(
      "flags-per-set", \.flags.flagsPerSet, 1...1_000_000,
      "flags in a set", "RESOURCE_EXHAUSTED"),
    count(
      "segments-per-set", \.flags.segmentsPerSet, 1...1_000_000,
      "segments in a set", "RESOURCE_EXHAUSTED"),
    count(
      "flag-sets", \.flags.sets, 1...1_000_000,
      "flag sets", "RESOURCE_EXHAUSTED"),
    count(
      "environments-per-set", \.flags.environmentsPerSet, 1...1_000,
      "environments a set's flags have states in", "RESOURCE_EXHAUSTED"),
    count(
      "waiting-changes", \.store.waitingWrites, 1...1_000_000,
      "changes that wait for the disk", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "waiting-reads", \.store.waitingReads, 1...1_000_000,
      "reads that wait for the disk", "RESOURCE_EXHAUSTED with RetryInfo"),
  ]

  private static let events: [ServerLimit] = [
    count(
      "event-subscribers", \.events.subscribers, 1...10_000_000,
      "subscriptions to events", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "event-telemetry-subscribers", \.events.telemetrySubscribers, 0...100_000,
      "of them, those that want telemetry", "RESOURCE_EXHAUSTED with RetryInfo"),
    count(
      "event-patterns", \.events.patterns, 1...10_000,
      "types, or subjects, in one request", "INVALID_ARGUMENT"),
    size(
      "event-pattern-size", \.events.patternBytes, 1...64 << 10,
      "a type, subject, actor or call in a request", "INVALID_ARGUMENT"),
    count(
      "event-page-size", \.events.maximumPageSize, 1...100_000,
      "events on a page", "the page is shorter"),
    size(
      "event-page-bytes", \.events.pageBytes, 1 << 10...64 << 20,
      "the same in bytes", "the page is shorter"),
    count(
      "event-revisions-per-read", \.events.revisionsPerRead, 1...10_000_000,
      "revisions a list without an index looks through", "the page ends, its token goes on"),
    count(
      "event-telemetry-buffer", \.events.telemetryBuffer, 1...1_000_000,
      "telemetry that waits for a subscriber", "it is dropped and counted"),
    count(
      "recent-events", \.events.recentEvents, 1...1_000_000,
      "events kept in memory for subscribers", "slower ones read the disk"),
    size(
      "recent-events-size", \.events.recentBytes, 1 << 10...1 << 30,
      "the same in bytes", "slower ones read the disk"),
    duration(
      "event-heartbeat-interval", \.events.heartbeatInterval, 1...3_600_000,
      "a subscription without a word", "a heartbeat"),
    duration(
      "event-minimum-age", \.events.minimumAge, 0...86_400_000,
      "the age before which no policy removes events", "they may be removed"),
    duration(
      "event-retention-interval", \.events.retentionInterval, 1...86_400_000,
      "time between two looks for events to remove", "they are kept longer"),
  ]

  // MARK: Rows

  static func count(
    _ name: String, _ path: ServerLimit.Path<Int>, _ range: ClosedRange<Int>, _ what: String,
    _ beyond: String
  ) -> ServerLimit {
    ServerLimit(name: name, what: what, beyond: beyond, place: .count(path), range: range)
  }

  static func size(
    _ name: String, _ path: ServerLimit.Path<Int>, _ range: ClosedRange<Int>, _ what: String,
    _ beyond: String
  ) -> ServerLimit {
    ServerLimit(name: name, what: what, beyond: beyond, place: .size(path), range: range)
  }

  static func duration(
    _ name: String, _ path: ServerLimit.Path<Duration>, _ range: ClosedRange<Int>, _ what: String,
    _ beyond: String
  ) -> ServerLimit {
    ServerLimit(name: name, what: what, beyond: beyond, place: .duration(path), range: range)
  }

  static func duration(
    _ name: String, _ path: ServerLimit.Path<Duration?>, _ range: ClosedRange<Int>,
    _ what: String,
    _ beyond: String
  ) -> ServerLimit {
    ServerLimit(
      name: name, what: what, beyond: beyond, place: .optionalDuration(path), range: range)
  }
}
