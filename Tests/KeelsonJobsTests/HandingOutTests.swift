import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonJobs

/// Limits of queues and keys, and what is created while they are reached.
@Suite(.timeLimit(.minutes(5))) struct HandingOutTests {
  private let context = ServerContext(
    method: MethodDescriptor(
      service: "keelson.jobs.v1.JobsService", name: "Test", kind: .unary, isIdempotent: false))

  private struct Bench {
    let service: JobService

    init(
      _ test: TestDatabase, _ limits: KeelsonJobsV1.QueueLimits, _ context: ServerContext
    ) async throws {
      try await test.database.migrate([JobsMigrations.all])
      service = JobService(database: test.database, logger: .silent)
      try await service.start()
      var queue = KeelsonJobsV1.Queue()
      queue.name = "mail"
      queue.limits = limits
      _ = try await service.updateQueue(.init(queue: queue), context: context)
    }

    func create(_ count: Int, key: String = "", in queue: String = "mail") async throws {
      var job = KeelsonJobsV1.Job()
      job.queue = queue
      job.kind = "send"
      job.concurrencyKey = key
      let new = JobEngine.NewJob(job: job)
      _ = try await service.engine.create(
        Array(repeating: new, count: count), origin: ChangeOrigin(actor: "test"))
    }

    func claim(_ credit: Int) async throws -> JobEngine.Claims {
      try await service.engine.claim(
        [
          .init(
            session: "session", worker: "worker", queues: ["mail"], kinds: ["send"],
            credit: credit)
        ], lanes: [.init(queue: "mail", kind: "send")])
    }
  }

  /// A backlog of one key hides nobody: also when it is longer than a look by rank.
  @Test(arguments: TestEngine.allCases)
  func jobsBehindAFullKeyAreHandedOut(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      var limits = KeelsonJobsV1.QueueLimits()
      limits.concurrencyPerKey = 2
      let bench = try await Bench(test, limits, context)
      try await bench.create(1_000, key: "full")
      try await bench.create(3, key: "small")
      try await bench.create(1)
      let first = try await bench.claim(2)
      #expect(first.jobs.map(\.concurrencyKey) == ["full", "full"])
      var given: [String: Int] = [:]
      // Where a look begins is left to chance.
      for _ in 0..<64 where given != ["small": 2, "": 1] {
        for job in try await bench.claim(10).jobs { given[job.concurrencyKey, default: 0] += 1 }
      }
      #expect(given == ["small": 2, "": 1])
    }
  }

  @Test(arguments: TestEngine.allCases)
  func queuesThatHaveNothingAreNoEndOfTheList(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      let bench = try await Bench(test, .init(), context)
      for queue in ["a", "b", "c"] { try await bench.create(1, in: queue) }
      try await bench.service.database.write { transaction in
        try await transaction.executeAll([
          SQLStatement("DELETE FROM jobs WHERE queue = 'a'"),
          SQLStatement("UPDATE job_counts SET number = 0 WHERE queue = 'a'"),
        ])
      }
      var names: [String] = []
      var request = KeelsonJobsV1.ListQueuesRequest()
      request.pageSize = 1
      repeat {
        let page = try await bench.service.listQueues(request, context: context)
        names += page.queues.map(\.name)
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      #expect(names == ["b", "c", "mail"])
    }
  }

  /// A schedule that replaces its job needs no second place in the queue.
  @Test(arguments: TestEngine.allCases)
  func aScheduleReplacesItsJobInAFullQueue(engine: TestEngine) async throws {
    try await TestDatabase.on(engine) { test in
      var limits = KeelsonJobsV1.QueueLimits()
      limits.depth = 1
      let bench = try await Bench(test, limits, context)
      var schedule = KeelsonJobsV1.Schedule()
      schedule.name = "nightly"
      schedule.cron = "0 3 * * *"
      schedule.overlap = .replace
      schedule.catchUp = 3
      schedule.job = .init()
      schedule.job?.queue = "mail"
      schedule.job?.kind = "send"
      _ = try await bench.service.createSchedule(.init(schedule: schedule), context: context)
      var jobs: [String] = []
      for _ in 0..<2 {
        try await bench.service.database.write { transaction in
          guard var stored = try await ScheduleRepository.schedule("nightly", in: transaction)
          else { throw StoreError(.corrupt, "no schedule") }
          stored.message.nextRunTime = .init(UnixTime.now + .seconds(-3 * 86_400))
          try await transaction.executeAll([ScheduleRepository.put(stored)])
        }
        _ = try await bench.service.engine.runSchedules(bench.service.zones)
        jobs.append(
          try await bench.service.getSchedule(.init(name: "nightly"), context: context).lastJobId)
      }
      #expect(Set(jobs).count == 2)
      var states: [KeelsonJobsV1.JobState] = []
      for id in jobs {
        states.append(try await bench.service.getJob(.init(id: id), context: context).state)
      }
      #expect(states == [.cancelled, .pending])
    }
  }
}
