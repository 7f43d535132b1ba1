package import KeelsonAPI

/// What jobs and workers may be and hold. Each number is a default; the errors name the limit.
package struct JobLimits: Sendable {
  /// Bytes of a queue's, a kind's, a schedule's and a worker's name, of a tag and of a concurrency
  /// key.
  package var nameBytes = 128
  /// Bytes of a job's parameters.
  package var parameterBytes = 64 * 1_024
  /// Bytes of a job's result.
  package var resultBytes = 64 * 1_024
  /// Tags of a job.
  package var tags = 32
  /// Bytes of a unique key.
  package var uniqueKeyBytes = 256
  /// Priorities either way.
  package var priority = 1_000
  /// Jobs of one `BatchCreateJobs`.
  package var jobsPerBatch = 1_000
  /// Jobs that wait in one queue, where the queue has no limit of its own.
  package var queueDepth: Int64 = 10_000_000
  /// Pending jobs in one queue beyond which health is degraded and an event says so (SYS-104).
  package var queueDepthAlert = 1_000
  /// Queues that metrics tell of each; the others as one.
  package var queuesInMetrics = 100
  /// How often it is looked for jobs that SQL has made; a quarter as often while none have come for
  /// ten seconds.
  package var inboxInterval: Duration = .milliseconds(50)
  /// Jobs that SQL has made and one transaction takes up.
  package var inboxRows = 1_000
  /// Bytes of their parameters; one job is taken up in any case.
  package var inboxBytes = 4 << 20
  /// How long those are kept that were refused.
  package var inboxKeepRefused: Duration = .seconds(30 * 86_400)
  /// How long an attempt may be allowed to take at most.
  package var timeout: Duration = .seconds(7 * 86_400)
  /// How long a lease lasts from each heartbeat on.
  package var lease: Duration = .seconds(30)
  /// How often workers send heartbeats.
  package var heartbeatInterval: Duration = .seconds(10)
  /// How long a worker that has jobs may be silent before it gets no more: two heartbeats, and in any
  /// case less than it takes for its leases to end.
  var patience: Duration { min(heartbeatInterval * 2, lease * 9 / 10) }
  /// The grace time of a cancellation that names none, and the longest one.
  package var defaultGrace: Duration = .seconds(30)
  package var maximumGrace: Duration = .seconds(3_600)
  /// Jobs handed out by one transaction.
  package var claimsPerRound = 500
  /// Results taken by one transaction.
  package var resultsPerRound = 1_000
  /// Jobs that one worker may have open.
  package var credit = 10_000
  /// Workers connected to one server.
  package var workers = 10_000
  /// Bytes of the reason for which a job is called off.
  package var reasonBytes = 1_024
  /// Schedules.
  package var schedules = 10_000
  /// Bytes of a schedule's description.
  package var descriptionBytes = 4_096
  /// `WatchJobs` streams at one time.
  package var watches = 10_000
  /// Queues and kinds that one worker names.
  package var queuesPerWorker = 64
  package var kindsPerWorker = 256
  /// Bytes of an attempt's error.
  package var errorBytes = 8 * 1_024
  /// Bytes of a line that a handler logs, and of what it says it does.
  package var logLineBytes = 1_024
  /// Rows that one page of a list looks at.
  package var rowsPerPage = 10_000
  /// Attempts that `GetJob` tells of.
  package var attemptsShown = 100
  /// Entries on a page when the request names no number, and the most it can name.
  package var pages = PageLimits()

  package init() {}
}
