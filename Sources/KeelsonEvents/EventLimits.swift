/// What the events service allows. Each number is a default; the errors name the limit.
package struct EventLimits: Sendable {
  /// `Subscribe` streams at one time.
  package var subscribers = 10_000
  /// Of them, those that want telemetry: each is asked about each telemetry event.
  package var telemetrySubscribers = 100
  /// Types, and subjects, that one request names.
  package var patterns = 100
  /// Bytes of a type, a subject, an actor or a correlation id in a request.
  package var patternBytes = 512
  /// Entries on a page when the request names no number, and the most it can name.
  package var defaultPageSize = 100
  package var maximumPageSize = 1_000
  /// Bytes after which a page is ended, however few events it has.
  package var pageBytes = 1 << 20
  /// Revisions that a list looks through for one page where no index leads to its events: the page
  /// ends then, and its token goes on.
  package var revisionsPerRead = 10_000
  /// Telemetry events that wait for a subscriber; further ones are dropped and counted.
  package var telemetryBuffer = 1_000
  /// Durable events that are kept encoded in memory for subscribers; slower ones read the table.
  package var recentEvents = 4_096
  /// The same in bytes.
  package var recentBytes = 8 << 20
  /// How long a subscription stays silent before a heartbeat.
  package var heartbeatInterval: Duration = .seconds(20)
  /// Events younger than this are kept whatever the retention policy says: other servers of the
  /// fleet, and readers that were away for a moment, have yet to see them.
  package var minimumAge: Duration = .seconds(600)
  /// How often the events are compared with the retention policy.
  package var retentionInterval: Duration = .seconds(60)

  package init() {}
}
