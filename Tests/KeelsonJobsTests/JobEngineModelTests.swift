import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonJobs

/// Random operations on the real stores, and on the state machine as the reference: after each both
/// say the same of every job.
@Suite struct JobEngineModelTests {
  private static let sequences =
    ProcessInfo.processInfo.environment["KEELSON_JOB_SEQUENCES"].flatMap { Int($0) } ?? 60
  private static let operations = 40

  @Test(arguments: TestEngine.allCases)
  func anyOperationsAgreeWithTheStateMachine(engine: TestEngine) async throws {
    let test = try await TestDatabase(engine)
    do {
      try await test.database.migrate([JobsMigrations.all])
      for seed in 0..<Self.sequences {
        var run = Run(database: test.database, seed: UInt64(seed))
        for step in 0..<Self.operations {
          let operation = try await run.operate()
          try await run.compare("seed \(seed), step \(step), \(operation), \(engine)")
        }
      }
    } catch {
      await test.remove()
      throw error
    }
    await test.remove()
  }

  /// One sequence, in a queue of its own.
  private struct Run {
    let engine: JobEngine
    let queue: String
    var random: SeededGenerator
    var reference: [JobID: JobLifecycle] = [:]
    var uniqueKeys: [String: JobID] = [:]
    var keys: [JobID: String] = [:]
    /// How attempts ended, those that a worker ended or a cancellation did.
    var outcomes: [JobID: [Int: KeelsonJobsV1.AttemptOutcome]] = [:]
    /// When the reference thinks it is: later than all times of the store.
    let late = UnixTime(microseconds: 4_000_000_000_000_000)

    init(database: any Database, seed: UInt64) {
      var limits = JobLimits()
      limits.lease = .seconds(3_600)
      engine = JobEngine(database: database, limits: limits, logger: .silent)
      queue = "queue-\(seed)"
      random = SeededGenerator(seed: seed)
    }

    private mutating func number(_ range: ClosedRange<Int>) -> Int {
      Int.random(in: range, using: &random)
    }

    private mutating func anyJob() -> JobID? {
      reference.keys.sorted { $0.text < $1.text }.randomElement(using: &random)
    }

    mutating func operate() async throws -> String {
      switch number(0...9) {
      case 0, 1: return try await create()
      case 2, 3: return try await claim()
      case 4, 5: return try await finish()
      case 6: return try await expire()
      case 7: return try await tick()
      case 8: return try await byHand()
      default: return try await prolong()
      }
    }

    private mutating func create() async throws -> String {
      var new: [JobEngine.NewJob] = []
      for _ in 0...number(0...2) {
        var job = KeelsonJobsV1.Job()
        job.queue = queue
        job.kind = number(0...1) == 0 ? "one" : "two"
        job.priority = Int32(number(-2...2))
        var policy = KeelsonJobsV1.RetryPolicy()
        policy.maximumRetries = Int32(number(0...2))
        policy.initialDelay = .init(Duration.zero)
        job.retryPolicy = policy
        if number(0...3) == 0 {
          var unique = KeelsonJobsV1.UniqueKey()
          unique.key = "key-\(number(0...2))"
          job.uniqueKey = unique
        }
        new.append(.init(job: job, delay: number(0...4) == 0 ? .seconds(-1) : nil))
      }
      for (new, created) in zip(
        new, try await engine.create(new, origin: ChangeOrigin(actor: "test")))
      {
        let key = new.job.uniqueKey.map { "\(new.job.kind)/\($0.key)" }
        let holder = key.flatMap { uniqueKeys[$0] }.flatMap { id in
          reference[id].flatMap { $0.state.hasEnded ? nil : id }
        }
        #expect(created.isExisting == (holder != nil))
        if let holder {
          #expect(created.job.id == holder)
          continue
        }
        var policy = RetryPolicy()
        policy.maximumRetries = Int(new.job.retryPolicy?.maximumRetries ?? 3)
        policy.initialDelay = .zero
        reference[created.job.id] = JobLifecycle(
          runTime: UnixTime(microseconds: 0), retryPolicy: policy,
          now: UnixTime(microseconds: 0))
        if let key {
          uniqueKeys[key] = created.job.id
          keys[created.job.id] = key
        }
      }
      return "create \(new.count)"
    }

    private mutating func claim() async throws -> String {
      let kinds: Set<String> = [["one"], ["two"], ["one", "two"]][number(0...2)]
      let credit = number(1...3)
      let before = try await pending(kinds)
      let claims = try await engine.claim(
        [
          .init(
            session: "session", worker: "worker", queues: [queue], kinds: kinds, credit: credit)
        ], lanes: kinds.map { .init(queue: queue, kind: $0) })
      #expect(claims.jobs.count == min(credit, before.count))
      // The first by rank, whatever their kinds.
      let expected = before.prefix(claims.jobs.count).map(\.rank).sorted()
      #expect(claims.jobs.map(\.rank).sorted() == expected)
      let late = late
      for job in claims.jobs {
        let token = try reference[job.id]?.claim(
          worker: "worker", lease: .seconds(3_600), timeout: nil, now: late)
        #expect(token == job.lifecycle.attempt)
      }
      return "claim \(credit) of \(kinds)"
    }

    private func pending(_ kinds: Set<String>) async throws -> [(id: JobID, rank: Int64)] {
      let queue = queue
      let rows = try await engine.database.read {
        try await $0.query(
          "SELECT id, rank, kind FROM jobs WHERE queue = $1 AND state = 2 ORDER BY rank, id",
          [.text(queue)])
      }
      return try rows.filter { kinds.contains(try $0.get(2)) }.map {
        (try JobID(stored: $0.get(0)), try $0.get(1))
      }
    }

    private mutating func finish() async throws -> String {
      var results: [JobEngine.Result] = []
      for _ in 0...number(0...2) {
        guard let id = anyJob(), let job = reference[id] else { continue }
        // Mostly the token that is good, if any is.
        let token = number(0...3) == 0 ? job.attempt - 1 : job.attempt
        let outcome: JobEngine.Result.Outcome =
          switch number(0...5) {
          case 0, 1: .succeeded(nil)
          case 2: .failed(message: "no", isPermanent: false, retryAfter: nil)
          case 3: .failed(message: "never", isPermanent: true, retryAfter: nil)
          case 4: .handedBack
          default: .cancelled
          }
        results.append(.init(id: id, attempt: token, outcome: outcome))
      }
      guard !results.isEmpty else { return "nothing" }
      let receipts = try await engine.finish(results)
      // Successes are taken first, each but once.
      var isFirst: Set<JobID> = []
      let order =
        results.indices.filter { index in
          guard case .succeeded = results[index].outcome else { return false }
          return isFirst.insert(results[index].id).inserted
        }
      var expected = [JobState?](repeating: nil, count: results.count)
      for index in order + results.indices.filter({ !order.contains($0) }) {
        expected[index] = apply(results[index])
      }
      // One that was taken before is not refused: it is told where its job stands.
      for (index, result) in results.enumerated() where expected[index] == nil {
        guard outcomes[result.id]?[result.attempt] == result.outcome.name else { continue }
        expected[index] = reference[result.id]?.state
      }
      #expect(receipts == expected, "\(results)")
      return "finish \(results.count)"
    }

    private mutating func apply(_ result: JobEngine.Result) -> JobState? {
      guard var job = reference[result.id] else { return nil }
      do {
        switch result.outcome {
        case .succeeded: try job.complete(token: result.attempt)
        case .failed(_, let isPermanent, _):
          try job.fail(
            token: result.attempt, isPermanent ? .permanent : .error, chance: 0.5, now: late)
        case .handedBack: try job.handBack(token: result.attempt, chance: 0.5, now: late)
        case .cancelled: try job.confirmCancellation(token: result.attempt)
        }
      } catch {
        return nil
      }
      reference[result.id] = job
      outcomes[result.id, default: [:]][result.attempt] = result.outcome.name
      return job.state
    }

    /// Some leases end.
    private mutating func expire() async throws -> String {
      let running = reference.filter { $0.value.state == .running }.map(\.key)
        .sorted { $0.text < $1.text }
      let chosen = running.filter { _ in number(0...1) == 0 }
      try await engine.database.write { transaction in
        for id in chosen {
          try await transaction.execute(
            "UPDATE jobs SET lease_expire_time = 1 WHERE id = $1", [.blob(id.bytes)])
        }
      }
      _ = try await engine.tick()
      for id in reference.keys {
        try? reference[id]?.becomeDue(now: UnixTime(microseconds: .max))
      }
      for id in chosen {
        if let job = reference[id], job.lease?.cancelTime != nil {
          outcomes[id, default: [:]][job.attempt] = .cancelled
        }
        try reference[id]?.expire(chance: 0.5, now: UnixTime(microseconds: .max))
      }
      return "expire \(chosen.count)"
    }

    private mutating func tick() async throws -> String {
      _ = try await engine.tick()
      for id in reference.keys {
        try? reference[id]?.becomeDue(now: UnixTime(microseconds: .max))
      }
      return "tick"
    }

    private mutating func prolong() async throws -> String {
      guard let id = anyJob(), let job = reference[id] else { return "nothing" }
      let token = number(0...2) == 0 ? job.attempt - 1 : job.attempt
      let held = try await engine.prolong([(id, token)])
      #expect(held.contains { $0.id == id } == (job.state == .running && token == job.attempt))
      return "prolong"
    }

    private mutating func byHand() async throws -> String {
      guard let id = anyJob(), var job = reference[id] else { return "nothing" }
      let origin = ChangeOrigin(actor: "test")
      let choice = number(0...3)
      var isAllowed = true
      switch choice {
      case 0: do { try job.cancel(grace: .seconds(3_600), now: late) } catch { isAllowed = false }
      case 1:
        do { try job.retry(now: late) } catch { isAllowed = false }
        // Its key may be that of another by now.
        if let holder = keys[id].flatMap({ uniqueKeys[$0] }), holder != id,
          reference[holder]?.state.hasEnded == false
        {
          isAllowed = false
        }
      case 2: isAllowed = job.state == .scheduled || job.state == .pending
      default: isAllowed = job.state.hasEnded
      }
      do {
        switch choice {
        case 0: _ = try await engine.cancel(id, grace: .seconds(3_600), reason: "", origin: origin)
        case 1: _ = try await engine.retry(id, origin: origin)
        case 2: _ = try await engine.reprioritize(id, to: number(-2...2), origin: origin)
        default: try await engine.delete(id, origin: origin)
        }
        #expect(isAllowed)
        if choice == 1, let key = keys[id] { uniqueKeys[key] = id }
        reference[id] = choice == 3 ? nil : job
        if choice == 3 { outcomes[id] = nil }
      } catch let error as RPCError {
        #expect(!isAllowed && error.code == .failedPrecondition, "\(error)")
      }
      return "by hand \(choice)"
    }

    func compare(_ comment: String) async throws {
      let queue = queue
      let (jobs, counts) = try await engine.database.read { transaction in
        (
          try await transaction.query(
            "SELECT \(StoredJob.columns) FROM jobs WHERE queue = $1", [.text(queue)]
          ).map(StoredJob.init),
          try await QueueRepository.counts(of: queue, in: transaction)
        )
      }
      #expect(Set(jobs.map(\.id)) == Set(reference.keys), "\(comment)")
      var expected: [JobCounts.Key: Int64] = [:]
      for job in jobs {
        let model = reference[job.id]
        #expect(job.lifecycle.state == model?.state, "\(comment)")
        #expect(job.lifecycle.attempt == model?.attempt, "\(comment)")
        #expect(job.lifecycle.allowedAttempts == model?.allowedAttempts, "\(comment)")
        #expect(job.lifecycle.handBacks == model?.handBacks, "\(comment)")
        #expect(
          (job.lifecycle.lease?.cancelTime != nil) == (model?.lease?.cancelTime != nil),
          "\(comment)")
        #expect((job.endTime != nil) == job.lifecycle.state.hasEnded, "\(comment)")
        expected[.init(queue: queue, kind: job.kind, state: job.lifecycle.state), default: 0] += 1
      }
      let kept = Dictionary(
        uniqueKeysWithValues: counts.map {
          (JobCounts.Key(queue: queue, kind: $0.kind, state: $0.state), $0.number)
        })
      #expect(kept == expected, "\(comment)")
    }
  }
}
