import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonJobs

/// What the component `jobs` says of the real stores.
@Suite struct JobHealthTests {
  /// A service on an empty database that alerts of more than ten pending jobs.
  private struct Bench {
    let service: JobService
    var database: any Database { service.database }

    init(_ test: TestDatabase, depth: Int = 10) async throws {
      try await test.database.migrate([JobsMigrations.all])
      var limits = JobLimits()
      limits.queueDepthAlert = depth
      service = JobService(database: test.database, limits: limits, logger: .silent)
      try await service.start()
    }

    func check() async throws -> HealthOutcome { try await service.healthCheck.check() }

    @discardableResult
    func create(_ count: Int, in queue: String, delay: Duration? = nil) async throws -> [JobID] {
      var job = KeelsonJobsV1.Job()
      job.queue = queue
      job.kind = "test"
      return try await service.engine.create(
        (0..<count).map { _ in .init(job: job, delay: delay) },
        origin: ChangeOrigin(actor: "test")
      ).map(\.job.id)
    }

    func claim(_ count: Int, from queue: String) async throws -> [JobEngine.Result] {
      try await service.engine.claim(
        [
          .init(
            session: "session", worker: "worker", queues: [queue], kinds: ["test"],
            credit: count)
        ], lanes: [.init(queue: queue, kind: "test")]
      ).jobs.map { .init(id: $0.id, attempt: $0.lifecycle.attempt, outcome: .succeeded(nil)) }
    }

    /// What the server that leads does with every check.
    func settle() async throws -> [JobEngine.AlertChange] {
      let figures = try await database.read { [dialect = database.dialect] in
        try await JobFigures.read(in: $0, dialect: dialect)
      }
      return try await service.engine.settleAlerts(
        of: figures.queues.map(\.name),
        DepthAlert(depth: Int64(service.limits.queueDepthAlert)))
    }

    func events(_ type: String) async throws -> [CommittedEvent] {
      try await database.read { transaction in
        try await transaction.query(
          "SELECT \(Events.columns) FROM events WHERE type = $1 ORDER BY revision",
          [.text(type)]
        ).map(Events.event)
      }
    }
  }

  @Test(arguments: TestEngine.allCases)
  func countsWhatTheCountersHave(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      let bench = try await Bench(test)
      #expect(try await bench.check().level == .healthy)
      try await bench.create(5, in: "mail")
      try await bench.create(2, in: "mail", delay: .seconds(3_600))
      var results = try await bench.claim(2, from: "mail")
      results[0].outcome = .failed(message: "no", isPermanent: true, retryAfter: nil)
      _ = try await bench.service.engine.finish([results[0]])
      let outcome = try await bench.check()
      #expect(outcome.level == .healthy)
      #expect(outcome.reason.isEmpty)
      let details = outcome.details
      #expect(details["active"] == .number(1))
      #expect(details["pending"] == .number(3))
      #expect(details["scheduled"] == .number(2))
      #expect(details["failed"] == .number(1))
      #expect(
        details["failed_recently"]
          == .object(["jobs": .number(1), "attempts": .number(1), "seconds": .number(300)]))
      guard case .number(let age) = details["oldest_pending_seconds"] else {
        Issue.record("there is no age of the oldest pending job")
        return
      }
      #expect(age >= 0 && age < 600)
      #expect(
        details["queues"]
          == .array([
            .object([
              "name": "mail", "pending": .number(3), "active": .number(1),
              "scheduled": .number(2), "failed": .number(1), "paused": .bool(false),
              "alert": .bool(false),
            ])
          ]))
    }
  }

  @Test(arguments: TestEngine.allCases)
  func alertsOfADeepQueueOnceAndUntilItIsWellBelow(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      let bench = try await Bench(test)
      try await bench.create(10, in: "mail")
      try await bench.create(9, in: "other")
      #expect(try await bench.check().level == .healthy)
      #expect(try await bench.settle().isEmpty)

      try await bench.create(1, in: "mail")
      let deep = try await bench.check()
      #expect(deep.level == .degraded)
      #expect(
        deep.reason
          == "Too many jobs are pending (alerted of above 10, until 8): 'mail' holds 11.")
      #expect(try await bench.settle().map(\.isRaised) == [true])
      // Once for the crossing, whichever server looks again.
      #expect(try await bench.settle().isEmpty)
      let exceeded = try await bench.events("keelson.jobs.JobQueueDepthExceeded")
      #expect(exceeded.map(\.subject) == ["mail"])
      #expect(
        exceeded.first.map { try? JSONValue(parsing: $0.data.text) }
          == .object(["queue": "mail", "pending": .number(11), "alertDepth": .number(10)]))

      // Nine are fewer than the depth, and not well below it.
      _ = try await bench.service.engine.finish(try await bench.claim(2, from: "mail"))
      #expect(try await bench.settle().isEmpty)
      #expect(try await bench.check().level == .degraded)

      _ = try await bench.service.engine.finish(try await bench.claim(1, from: "mail"))
      #expect(try await bench.check().level == .healthy)
      #expect(try await bench.settle().map(\.isRaised) == [false])
      #expect(try await bench.settle().isEmpty)
      let recovered = try await bench.events("keelson.jobs.JobQueueDepthRecovered")
      #expect(recovered.map(\.subject) == ["mail"])
    }
  }

  @Test func saysThatADeepQueueIsPaused() async throws {
    try await TestDatabase.on(.sqlite) { test in
      let bench = try await Bench(test)
      try await bench.create(11, in: "mail")
      var settings = QueueSettings(name: "mail")
      settings.isPaused = true
      try await bench.database.write { [settings] in
        try await $0.executeAll([QueueRepository.put(settings)])
      }
      let outcome = try await bench.check()
      #expect(outcome.reason.contains("'mail' holds 11 and is paused"))
    }
  }

  @Test func namesThreeDeepQueuesAndCountsTheOthers() async throws {
    try await TestDatabase.on(.sqlite) { test in
      let bench = try await Bench(test, depth: 1)
      for number in 1...5 { try await bench.create(1 + number, in: "queue-\(number)") }
      let reason = try await bench.check().reason
      #expect(
        reason.hasSuffix(
          ": 'queue-5' holds 6, 'queue-4' holds 5, 'queue-3' holds 4, and 2 more queues."))
    }
  }

  @Test(arguments: TestEngine.allCases)
  func namesAClockThatIsAhead(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      let bench = try await Bench(test)
      try await bench.create(1, in: "mail")
      // As a change leaves it when the clock is put back by an hour afterwards.
      let ahead = UnixTime.now + .seconds(3_600)
      try await bench.database.write { transaction in
        try await transaction.executeAll([
          SQLStatement("UPDATE change_sequence SET last_audit_time = $1", [SQLValue(ahead)])
        ])
      }
      let outcome = try await bench.check()
      #expect(outcome.level == .degraded)
      #expect(outcome.reason.contains("s ahead of the database's clock"))
    }
  }

  @Test func saysWhenNobodyMovesWhatIsDue() async throws {
    try await TestDatabase.on(.sqlite) { test in
      let bench = try await Bench(test)
      let ids = try await bench.create(1, in: "mail", delay: .seconds(3_600))
      func put(_ late: Duration) async throws {
        let time = UnixTime.now - late
        try await bench.database.write { transaction in
          try await transaction.executeAll([
            SQLStatement(
              "UPDATE jobs SET run_time = $1 WHERE id = $2",
              [SQLValue(time), .blob(ids[0].bytes)])
          ])
        }
      }
      let figures = try await bench.database.read {
        try await JobFigures.read(in: $0, dialect: .sqlite)
      }
      let long = UnixTime.now - .seconds(86_400)
      func found(
        _ figures: JobFigures, sinceRound: Duration = .seconds(1), since start: UnixTime
      ) -> [HealthOutcome.Level] {
        var levels: [HealthOutcome.Level] = []
        bench.service.healthCheck.findStandstill(
          figures, sinceRound: sinceRound, since: start
        ) { level, _ in levels.append(level) }
        return levels
      }
      #expect(found(figures, since: long).isEmpty)
      #expect(found(figures, sinceRound: .seconds(11), since: long) == [.unhealthy])
      for (late, expected) in [
        (-600, []), (20, [.degraded]), (100, [.unhealthy]),
      ] as [(Int, [HealthOutcome.Level])] {
        try await put(.seconds(late))
        let figures = try await bench.database.read {
          try await JobFigures.read(in: $0, dialect: .sqlite)
        }
        #expect(found(figures, since: long) == expected)
        // A server that has just begun has had no time for it.
        #expect(found(figures, since: .now).isEmpty)
      }
    }
  }

  @Test func metricsTellOfSoManyQueuesAndOfTheOthersAsOne() async throws {
    try await TestDatabase.on(.sqlite) { test in
      let bench = try await Bench(test)
      for number in 1...4 { try await bench.create(number, in: "queue-\(number)") }
      _ = try await bench.check()
      let families = bench.service.healthCheck.metricFamilies(queues: 2)
      let jobs = try #require(families.first { $0.name == "keelson_jobs" })
      let pending = jobs.samples.filter { $0.labels.contains { $0.value == "pending" } }
      #expect(pending.map(\.value) == [4, 3, 3])
      #expect(
        pending.map { $0.labels.first { $0.name == "queue" }?.value }
          == ["queue-4", "queue-3", "(others)"])
    }
  }

  @Test func tellsOfTheFailuresOfTheLastFiveMinutes() {
    var state = JobHealthCheck.State(startTime: .now)
    let start = ContinuousClock.now
    var counts = JobTallies.Counts()
    for minute in 0...20 {
      counts.fleetFailedAttempts = minute * 10
      counts.fleetFailedJobs = minute
      state.note(JobFigures(), counts, at: start + .seconds(minute * 60))
      #expect(state.recentFailures.jobs == min(minute, 5))
      #expect(state.recentFailures.attempts == min(minute, 5) * 10)
    }
    #expect(state.failures.count <= 7)
  }

  @Test func countsHowLongNobodyTakesUpTheFirstJobOfTheInbox() {
    var state = JobHealthCheck.State(startTime: .now)
    let start = ContinuousClock.now
    func wait(of first: Int64?, at seconds: Int) -> Duration {
      var figures = JobFigures()
      figures.inbox.first = first
      state.note(figures, JobTallies.Counts(), at: start + .seconds(seconds))
      return state.inboxWait(at: start + .seconds(seconds))
    }
    #expect(wait(of: nil, at: 0) == .zero)
    #expect(wait(of: 7, at: 5) == .zero)
    #expect(wait(of: 7, at: 20) == .seconds(15))
    // Another one is the first: they are taken up.
    #expect(wait(of: 8, at: 25) == .zero)
    #expect(wait(of: nil, at: 30) == .zero)
  }

  @Test func countsWhatThisServerDoes() throws {
    let tallies = JobTallies()
    let id = JobID.make(at: .now)
    func result(_ outcome: JobEngine.Result.Outcome) -> JobEngine.Result {
      .init(id: id, attempt: 1, outcome: outcome)
    }
    tallies.claimed(3)
    tallies.took(
      [
        result(.succeeded(nil)), result(.succeeded(nil)),
        result(.failed(message: "no", isPermanent: false, retryAfter: nil)),
        result(.handedBack), result(.cancelled),
      ], [.completed, nil, .scheduled, .pending, .cancelled])
    tallies.moved(.init(expiredLeases: 2, timeouts: 1))
    let values = Dictionary(
      uniqueKeysWithValues: tallies.metricFamilies.map { ($0.name, $0.samples[0].value) })
    #expect(values["keelson_jobs_claimed_total"] == 3)
    #expect(values["keelson_jobs_completed_total"] == 1)
    #expect(values["keelson_job_results_refused_total"] == 1)
    #expect(values["keelson_job_attempts_failed_total"] == 1)
    #expect(values["keelson_jobs_handed_back_total"] == 1)
    #expect(values["keelson_job_leases_expired_total"] == 2)
    #expect(values["keelson_job_timeouts_total"] == 1)
  }
}
