package import KeelsonCore
import KeelsonJobRules
import KeelsonStore
import Synchronization

/// Says how the jobs are: what runs, waits and has failed, whether queues are too deep, and whether
/// what is due is moved at all. Source: SYS-104.
package final class JobHealthCheck: HealthCheck {
  package let name = "jobs"
  package let isEssential = false

  private let engine: JobEngine
  private let dispatcher: JobDispatcher
  private let alert: DepthAlert
  private let logger: Logger
  private let state: Mutex<State>

  /// What is known from look to look.
  struct State {
    let startTime: UnixTime
    /// The last look.
    var figures: JobFigures?
    /// Failures of the whole fleet as counted at earlier looks, the oldest first.
    var failures: [(time: ContinuousClock.Instant, jobs: Int, attempts: Int)] = []
    /// The first job in the inbox, and since when it has been that.
    var inboxFirst: (number: Int64, since: ContinuousClock.Instant)?
  }

  /// What is due for longer is moved late, and then not at all.
  private static let lateAfter: Duration = .seconds(10)
  private static let stillAfter: Duration = .seconds(60)
  /// By how much the clock of the changes may be ahead of this server's own.
  private static let clockLead: Duration = .seconds(5)
  /// How far back the failures of ``JobTallies`` are told of.
  static let recently: Duration = .seconds(300)
  private static let queuesNamed = 3
  private static let queuesDetailed = 20

  init(engine: JobEngine, dispatcher: JobDispatcher, limits: JobLimits, logger: Logger) {
    self.engine = engine
    self.dispatcher = dispatcher
    self.logger = logger
    alert = DepthAlert(depth: Int64(limits.queueDepthAlert))
    state = Mutex(State(startTime: .now))
  }

  package func check() async throws -> HealthOutcome {
    let figures: JobFigures
    do {
      let dialect = engine.database.dialect
      figures = try await engine.database.read {
        try await JobFigures.read(in: $0, dialect: dialect)
      }
    } catch {
      throw RPCError(.unavailable, "How the jobs stand cannot be read.", cause: "\(error)")
    }
    if dispatcher.leads { await settleAlerts(figures) }
    let counts = dispatcher.tallies.counts
    let now = ContinuousClock.now
    let seen = state.withLock { state in
      state.note(figures, counts, at: now)
      return (
        start: state.startTime, recent: state.recentFailures,
        inboxWait: state.inboxWait(at: now)
      )
    }
    var outcome = HealthOutcome.healthy
    func find(_ level: HealthOutcome.Level, _ reason: String) {
      if level == .unhealthy || outcome.level == .healthy { outcome.level = level }
      outcome.reason += (outcome.reason.isEmpty ? "" : " ") + reason
    }
    findStandstill(
      figures, sinceRound: dispatcher.timeSinceClockRound, since: seen.start, find)
    findClock(figures, find)
    findDepth(figures, find)
    if seen.inboxWait > Self.lateAfter {
      find(
        .degraded,
        "\(figures.inbox.waiting) jobs made by SQL wait: their queues are full, or no server "
          + "takes them up.")
    }
    outcome.details = details(of: figures, recentFailures: seen.recent)
    return outcome
  }

  // MARK: What is wrong

  func findStandstill(
    _ figures: JobFigures, sinceRound idle: Duration, since start: UnixTime,
    _ find: (HealthOutcome.Level, String) -> Void
  ) {
    if idle > Self.lateAfter {
      find(
        .unhealthy,
        "This server has not managed for \(idle.components.seconds) s to look which jobs are due; "
          + "its log says why.")
    }
    guard let due = figures.nextTime else { return }
    let late = min(due.duration(to: figures.time), start.duration(to: .now))
    guard late > Self.lateAfter else { return }
    find(
      late > Self.stillAfter ? .unhealthy : .degraded,
      "What is due is not moved: the first has been due for \(late.components.seconds) s. The "
        + "server that leads is behind, or no server does.")
  }

  private func findClock(_ figures: JobFigures, _ find: (HealthOutcome.Level, String) -> Void) {
    let lead = figures.time.duration(to: figures.changeTime)
    guard lead > Self.clockLead else { return }
    find(
      .degraded,
      "The newest change is \(lead.components.seconds) s ahead of the database's clock: until then "
        + "leases do not end and retries are not due. Set the clock of the database's host.")
  }

  private func findDepth(_ figures: JobFigures, _ find: (HealthOutcome.Level, String) -> Void) {
    let deep = figures.queues.filter { alert.isRaised($0) }
    guard !deep.isEmpty else { return }
    let named = deep.prefix(Self.queuesNamed).map { queue in
      "'\(queue.name)' holds \(queue[.pending])" + (queue.isPaused ? " and is paused" : "")
    }
    let others = deep.count - named.count
    find(
      .degraded,
      "Too many jobs are pending (alerted of above \(alert.depth), until \(alert.recoveryDepth)): "
        + "\(named.joined(separator: ", "))"
        + (others > 0 ? ", and \(others) more queues" : "") + ".")
  }

  /// Tells of queues that have got deep, or are no longer.
  private func settleAlerts(_ figures: JobFigures) async {
    let changed = figures.queues.filter { alert.isRaised($0) != $0.isAlerted }.map(\.name)
    guard !changed.isEmpty else { return }
    do {
      for change in try await engine.settleAlerts(of: changed, alert) {
        let fields: KeyValuePairs = [
          "queue": change.queue, "pending": "\(change.pending)", "alert_depth": "\(alert.depth)",
        ]
        if change.isRaised {
          logger.log(
            .warning, "A queue holds more pending jobs than the limit job-queue-depth-alert.",
            fields)
        } else {
          logger.log(.info, "A queue is no longer too deep.", fields)
        }
      }
    } catch {
      logger.log(.warning, "A queue's depth could not be told of.", ["error": "\(error)"])
    }
  }

  // MARK: What was measured

  private func details(
    of figures: JobFigures, recentFailures: (jobs: Int, attempts: Int)
  ) -> [String: JSONValue] {
    func number(_ value: Int64) -> JSONValue { .number(Double(value)) }
    let total = figures.total
    var details: [String: JSONValue] = [
      "active": number(total[.running]), "pending": number(total[.pending]),
      "scheduled": number(total[.scheduled]), "failed": number(total[.failed]),
      "failed_recently": .object([
        "jobs": .number(Double(recentFailures.jobs)),
        "attempts": .number(Double(recentFailures.attempts)),
        "seconds": .number(Self.recently / .seconds(1)),
      ]),
      "workers": .number(Double(dispatcher.workers.count)), "leads": .bool(dispatcher.leads),
      "alert_depth": number(alert.depth),
      "queues": .array(
        figures.queues.prefix(Self.queuesDetailed).map { queue in
          .object([
            "name": .string(queue.name), "pending": number(queue[.pending]),
            "active": number(queue[.running]), "scheduled": number(queue[.scheduled]),
            "failed": number(queue[.failed]), "paused": .bool(queue.isPaused),
            "alert": .bool(alert.isRaised(queue)),
          ])
        }),
    ]
    if let age = figures.oldestPendingAge { details["oldest_pending_seconds"] = .number(age) }
    if engine.database.dialect == .postgreSQL {
      details["inbox"] = .object([
        "waiting": .number(Double(figures.inbox.waiting)),
        "refused": .number(Double(figures.inbox.refused)),
      ])
    }
    return details
  }

  /// The figures of the last look and the counters of this server, for Prometheus.
  ///
  /// - Parameter queues: how many queues are told of each, the deepest; the others as one.
  func metricFamilies(queues: Int) -> [MetricFamily] {
    let workers = MetricFamily(
      "keelson_job_workers", .gauge, "Workers that are connected to this server.",
      [.init(Int64(dispatcher.workers.count))])
    let own = dispatcher.tallies.metricFamilies + [workers]
    guard let figures = state.withLock({ $0.figures }) else { return own }
    return figures.metricFamilies(queues: queues) + own
  }
}

extension JobHealthCheck.State {
  mutating func note(
    _ figures: JobFigures, _ counts: JobTallies.Counts, at now: ContinuousClock.Instant
  ) {
    self.figures = figures
    failures.append((now, counts.fleetFailedJobs, counts.fleetFailedAttempts))
    // One that is old enough stays, to compare with.
    while failures.count > 1, now - failures[1].time >= JobHealthCheck.recently {
      failures.removeFirst()
    }
    if inboxFirst?.number != figures.inbox.first {
      inboxFirst = figures.inbox.first.map { ($0, now) }
    }
  }

  /// How long the first job in the inbox has been that.
  func inboxWait(at now: ContinuousClock.Instant) -> Duration {
    inboxFirst.map { now - $0.since } ?? .zero
  }

  /// Jobs and attempts that failed between the oldest look and the newest.
  var recentFailures: (jobs: Int, attempts: Int) {
    guard let first = failures.first, let last = failures.last else { return (0, 0) }
    return (last.jobs - first.jobs, last.attempts - first.attempts)
  }
}

extension JobFigures {
  /// Seconds; nil when nothing is pending.
  var oldestPendingAge: Double? {
    oldestPendingTime.map { time in
      max(0, time.duration(to: self.time) / .seconds(1))
    }
  }

  /// In place of a queue's name: those that are told of as one. No queue can have it.
  private static let others = "(others)"

  fileprivate func metricFamilies(queues limit: Int) -> [MetricFamily] {
    let shown = queues.prefix(limit)
    var rest = total
    rest.name = Self.others
    for queue in shown {
      for (index, number) in queue.numbers.enumerated() { rest.numbers[index] -= number }
    }
    let told = Array(shown) + (queues.count > limit ? [rest] : [])
    let samples = told.flatMap { queue in
      JobState.allCases.map { state in
        MetricFamily.Sample(
          queue[state], labels: [("queue", queue.name), ("state", state.name)])
      }
    }
    return [
      MetricFamily(
        "keelson_jobs", .gauge, "Jobs by queue and state, as of the last check.", samples),
      MetricFamily(
        "keelson_jobs_oldest_pending_seconds", .gauge,
        "How long those pending jobs have waited that come first, the longest.",
        [.init(Int64(oldestPendingAge ?? 0))]),
      MetricFamily(
        "keelson_job_queues_paused", .gauge, "Queues that are paused.",
        [.init(Int64(queues.count { $0.isPaused }))]),
      MetricFamily(
        "keelson_job_queues_alerted", .gauge,
        "Queues with more pending jobs than the limit job-queue-depth-alert.",
        [.init(Int64(queues.count { $0.isAlerted }))]),
    ]
  }
}
