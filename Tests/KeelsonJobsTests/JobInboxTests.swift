import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonJobs

/// Jobs made by SQL, on a real PostgreSQL.
@Suite struct JobInboxTests {
  private struct Bench {
    let service: JobService
    var database: any Database { service.database }

    init(_ test: TestDatabase, limits: JobLimits = JobLimits()) async throws {
      try await test.database.migrate([JobsMigrations.all])
      service = JobService(database: test.database, limits: limits, logger: .silent)
      try await service.start()
    }

    /// Calls the function once for each list of arguments, all in one transaction.
    @discardableResult
    func call(_ arguments: String...) async throws -> [JobID] {
      try await database.write { transaction in
        var ids: [JobID] = []
        for arguments in arguments {
          let row = try await transaction.first(
            "SELECT uuid_send(keelson_create_job(\(arguments)))")
          ids.append(try JobID(stored: row?.get(0) ?? []))
        }
        return ids
      }
    }

    /// Takes up what can be.
    func takeUpAll() async throws {
      while try await service.inbox.takeUp() {}
    }

    func job(_ id: JobID) async throws -> StoredJob? {
      try await database.read { try await JobRepository.job(id, in: $0) }
    }

    func jobs(in queue: String = "default") async throws -> Int {
      try await count("SELECT count(*) FROM jobs WHERE queue = '\(queue)'")
    }

    var waiting: Int {
      get async throws { try await count("SELECT count(*) FROM job_inbox WHERE refusal IS NULL") }
    }

    func count(_ sql: String) async throws -> Int {
      try await database.read { try await $0.first(sql)?.get(0) ?? 0 }
    }

    func execute(_ sql: String) async throws {
      try await database.write { try await $0.executeAll([SQLStatement(sql)]) }
    }

    func refusals() async throws -> [String] {
      try await database.read { transaction in
        try await transaction.query(
          "SELECT refusal FROM job_inbox WHERE refusal IS NOT NULL ORDER BY number"
        ).map { try $0.get(0) }
      }
    }
  }

  private func on(
    _ limits: JobLimits = JobLimits(), _ body: (Bench) async throws -> Void
  ) async throws {
    try await TestDatabase.on(.postgres) { test in try await body(Bench(test, limits: limits)) }
  }

  @Test func takesUpWhatACommittedTransactionHasMade() async throws {
    try await on { bench in
      let ids = try await bench.call(
        """
        'mail', '{"to": "anna"}', queue => 'mails', priority => 5, unique_key => 'anna',
        unique_window => '1 hour', timeout => '90 s', maximum_retries => 7,
        concurrency_key => 'tenant', tags => ARRAY['one', 'zwei, "3"'], correlation_id => 'call-1',
        traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        """,
        "'mail'", "'mail', run_time => now() + interval '1 hour'",
        "'mail', id => '0190163d-8694-739b-aea5-966c26f8ad91'")
      #expect(try await bench.jobs() == 0)
      try await bench.takeUpAll()
      #expect(try await bench.waiting == 0)
      let full = try #require(try await bench.job(ids[0])).message
      #expect(full.queue == "mails" && full.kind == "mail" && full.priority == 5)
      #expect(full.parameters?.kind == .json(#"{"to": "anna"}"#))
      #expect(full.uniqueKey?.key == "anna")
      #expect(full.uniqueKey?.window?.seconds == 3_600)
      #expect(full.timeout?.seconds == 90)
      #expect(full.retryPolicy?.maximumRetries == 7)
      #expect(full.concurrencyKey == "tenant")
      #expect(full.tags == ["one", "zwei, \"3\""])
      #expect(full.correlationId == "call-1")
      #expect(full.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
      #expect(full.creator == "postgresql:\(PrivatePostgres.user)")
      #expect(full.state == .pending)
      let plain = try #require(try await bench.job(ids[1])).message
      #expect(plain.queue == "default" && plain.parameters == nil && plain.tags.isEmpty)
      #expect(try await bench.job(ids[2])?.lifecycle.state == .scheduled)
      #expect(ids[3].text == "0190163d-8694-739b-aea5-966c26f8ad91")
      #expect(try await bench.job(ids[3]) != nil)
      let actors = try await bench.database.read { transaction in
        try await transaction.query(
          "SELECT actor FROM audit_entries WHERE action LIKE 'job.%created'"
        ).map { try $0.get(0, as: String.self) }
      }
      #expect(Set(actors) == ["postgresql:\(PrivatePostgres.user)"])
    }
  }

  @Test func runsInTheOrderOfTheCalls() async throws {
    try await on { bench in
      var ids: [JobID] = []
      for _ in 0..<20 { ids += try await bench.call("'a'", "'a'", "'a'") }
      try await bench.takeUpAll()
      let claims = try await bench.service.engine.claim(
        [.init(session: "s", worker: "w", queues: ["default"], kinds: ["a"], credit: 100)],
        lanes: [.init(queue: "default", kind: "a")])
      let claimed = Set(claims.jobs.map(\.id))
      #expect(claimed == Set(ids))
      #expect(ids.map(\.text) == ids.map(\.text).sorted())
    }
  }

  @Test func aTransactionThatIsRolledBackLeavesNothing() async throws {
    struct Undone: Error {}
    try await on { bench in
      await #expect(throws: Undone.self) {
        try await bench.database.write { transaction in
          _ = try await transaction.query("SELECT CAST(keelson_create_job('mail') AS TEXT)")
          throw Undone()
        }
      }
      try await bench.takeUpAll()
      #expect(try await bench.jobs() == 0)
      #expect(try await bench.count("SELECT count(*) FROM job_inbox") == 0)
    }
  }

  /// Calls that cannot be, and what is said of each.
  private static let wrong = [
    ("''", "kind: is required"), ("NULL", "kind: is required"),
    ("'a b'", "kind: has 1 to 128"), ("'-a'", "kind: has 1 to 128"),
    ("repeat('a', 129)", "kind: has 1 to 128"), ("E'a\\n'", "kind: has 1 to 128"),
    ("'a', queue => 'b c'", "queue: has 1 to 128"),
    ("'a', to_jsonb(repeat('x', 65536))", "parameters: has 65538 bytes; at most 65536"),
    ("'a', priority => 1001", "priority: 1001 is not from"),
    ("'a', unique_key => ''", "unique_key: has 1 to 256"),
    ("'a', unique_key => repeat('k', 257)", "unique_key: has 1 to 256"),
    ("'a', unique_window => '1 s'", "unique_window: is for a unique_key"),
    ("'a', unique_key => 'k', unique_window => '0 s'", "unique_window: 00:00:00 is not from"),
    ("'a', timeout => '8 days'", "timeout: 8 days is not from"),
    ("'a', maximum_retries => 101", "maximum_retries: 101 is not from 0 to 100"),
    ("'a', concurrency_key => repeat('k', 129)", "concurrency_key: has 129 bytes"),
    ("'a', tags => array_fill('t'::text, ARRAY[33])", "tags: has 33 tags"),
    ("'a', tags => ARRAY['x', '']", "tags: a list of texts"),
    ("'a', tags => ARRAY['x', NULL]", "tags: a list of texts"),
    ("'a', run_time => 'infinity'", "run_time: infinity is not in the years"),
    ("'a', correlation_id => E'x\\ny'", "correlation_id: has 1 to 128"),
    ("'a', traceparent => 'x'", "traceparent: is as W3C"),
  ]

  @Test func refusesWhatCannotBeAtTheCall() async throws {
    try await on { bench in
      for (arguments, message) in Self.wrong {
        let error = await #expect(throws: StoreError.self, "\(arguments)") {
          try await bench.call(arguments)
        }
        let text = error.map { "\($0)" } ?? ""
        #expect(text.contains(message), "\(arguments)")
      }
      let made = try await bench.count("SELECT count(*) FROM job_inbox")
      #expect(made == 0)
    }
  }

  @Test func takesTheDefaultsForNull() async throws {
    try await on { bench in
      let ids = try await bench.call(
        """
        'a', NULL, queue => NULL, run_time => NULL, priority => NULL, unique_key => NULL,
        unique_window => NULL, timeout => NULL, maximum_retries => NULL, concurrency_key => NULL,
        tags => NULL, id => NULL, correlation_id => NULL, traceparent => NULL
        """)
      try await bench.takeUpAll()
      #expect(try await bench.job(ids[0])?.queue == "default")
    }
  }

  @Test func keepsToTheServersLimitOfParameters() async throws {
    var limits = JobLimits()
    limits.parameterBytes = 10
    try await on(limits) { bench in
      await #expect(throws: StoreError.self) { try await bench.call("'a', '\"123456789\"'") }
      try await bench.call("'a', '\"12345678\"'")
    }
  }

  @Test func whatIsFoundOutLaterIsRefusedAndKeepsNobodyBack() async throws {
    try await on { bench in
      let deep = "(repeat('[', 600) || repeat(']', 600))::jsonb"
      let ids = try await bench.call("'a'", "'a', \(deep)", "'a'")
      try await bench.takeUpAll()
      #expect(try await bench.jobs() == 2)
      #expect(try await bench.job(ids[1]) == nil)
      let refusals = try await bench.refusals()
      #expect(refusals.count == 1)
      #expect(refusals[0].contains("parameters: is no JSON"))
      let entries = try await bench.count(
        """
        SELECT count(*) FROM audit_entries WHERE action = 'job.refused'
        AND outcome = 'failure' AND entity_id = '\(ids[1].text)'
        """)
      #expect(entries == 1)
      // It is not looked at again, and goes when it has been kept long enough.
      #expect(try await bench.service.inbox.takeUp() == false)
      #expect(try await bench.service.engine.pruneInbox() == 0)
      try await bench.execute("UPDATE job_inbox SET create_time = 0")
      #expect(try await bench.service.engine.pruneInbox() == 1)
    }
  }

  @Test func oneThatTheDatabaseDoesNotTakeKeepsNobodyBack() async throws {
    try await on { bench in
      try await bench.execute("ALTER TABLE jobs ADD CONSTRAINT odd CHECK (kind <> 'poison')")
      try await bench.call("'a'", "'poison'", "'a'")
      try await bench.takeUpAll()
      #expect(try await bench.jobs() == 2)
      let refusals = try await bench.refusals()
      #expect(refusals.count == 1)
      #expect(refusals[0].contains("The database did not take it"))
    }
  }

  @Test func aFullQueueWaitsAndTheOthersDoNot() async throws {
    var limits = JobLimits()
    limits.queueDepth = 3
    try await on(limits) { bench in
      try await bench.call(
        "'a', queue => 'full'", "'a', queue => 'full'", "'a', queue => 'full'",
        "'a', queue => 'full'", "'a', queue => 'full'", "'a', queue => 'other'")
      try await bench.takeUpAll()
      #expect(try await bench.jobs(in: "full") == 3)
      #expect(try await bench.jobs(in: "other") == 1)
      #expect(try await bench.waiting == 2)
      let figures = try await bench.database.read {
        try await InboxRepository.figures(atMost: 10, in: $0)
      }
      #expect(figures.waiting == 2 && figures.first == 4 && figures.refused == 0)

      let claims = try await bench.service.engine.claim(
        [.init(session: "s", worker: "w", queues: ["full"], kinds: ["a"], credit: 10)],
        lanes: [.init(queue: "full", kind: "a")])
      #expect(claims.jobs.count == 3)
      // Another server does not know that the queue was full.
      let other = JobService(database: bench.database, limits: limits, logger: .silent)
      while try await other.inbox.takeUp() {}
      #expect(try await bench.waiting == 0)
      #expect(try await bench.jobs(in: "full") == 5)
    }
  }

  @Test func aUniqueKeyThatIsTakenMakesNoOther() async throws {
    var limits = JobLimits()
    limits.queueDepth = 2
    try await on(limits) { bench in
      let first = try await bench.call("'a', unique_key => 'k'")
      try await bench.takeUpAll()
      let later = try await bench.call("'a', unique_key => 'k'", "'a'")
      // There is room for one of the two, and the one that comes first makes no job.
      _ = try await bench.service.inbox.takeUp()
      #expect(try await bench.waiting == 1)
      let other = JobService(database: bench.database, limits: limits, logger: .silent)
      while try await other.inbox.takeUp() {}
      #expect(try await bench.waiting == 0)
      #expect(try await bench.job(first[0]) != nil)
      #expect(try await bench.job(later[0]) == nil)
      #expect(try await bench.job(later[1]) != nil)
    }
  }

  @Test func twoServersTakeUpEachJobOnce() async throws {
    try await on { bench in
      try await bench.call("'a'", "'a'", "'a'")
      let engine = bench.service.engine
      let rows = try await engine.inboxPage(without: [])
      #expect(rows.count == 3)
      let origin = ChangeOrigin(actor: "test")
      #expect(try await engine.takeUp(rows, from: origin).numbers.count == 3)
      // The other one read them before that.
      #expect(try await engine.takeUp(rows, from: origin).numbers.isEmpty)
      #expect(try await bench.jobs() == 3)
    }
  }

  @Test func readsSoManyBytesAtOnceAndOneJobInAnyCase() async throws {
    var limits = JobLimits()
    limits.inboxBytes = 1_000
    try await on(limits) { bench in
      let large = "'a', to_jsonb(repeat('x', 600))"
      try await bench.call(large, large, large)
      #expect(try await bench.service.engine.inboxPage(without: []).count == 2)
      limits.inboxBytes = 1
      let other = JobEngine(database: bench.database, limits: limits, logger: .silent)
      #expect(try await other.inboxPage(without: []).count == 1)
      try await bench.takeUpAll()
      #expect(try await bench.jobs() == 3)
    }
  }

  @Test func aFloodInOneQueueDoesNotHoldUpAnother() async throws {
    var limits = JobLimits()
    limits.inboxRows = 40
    try await on(limits) { bench in
      try await bench.execute(
        "SELECT CAST(keelson_create_job('a') AS TEXT) FROM generate_series(1, 500)")
      try await bench.call("'a', queue => 'small'")
      let page = try await bench.service.engine.inboxPage(without: [])
      #expect(page.contains { $0.job.queue == "small" })
      #expect(page.count == 21)
    }
  }
}
