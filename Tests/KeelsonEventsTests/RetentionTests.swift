import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonEvents

@Suite("How long events are kept", .timeLimit(.minutes(5)))
struct RetentionTests {
  private typealias API = KeelsonEventsV1

  @Test(
    "a new server has a policy, and a change of it is audited, told and checked by etag",
    arguments: TestEngine.allCases)
  func update(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      let initial = try await server.client.getRetentionPolicy(.init())
      #expect(initial.maxCount == 1_000_000)
      #expect(initial.maxAge?.clampedDuration == .seconds(30 * 86_400))
      #expect(initial.oldestRevision == 1)
      #expect(initial.updateTime == nil)

      var update = API.RetentionPolicy(maxCount: 500, etag: initial.etag)
      let updated = try await server.client.updateRetentionPolicy(
        .init(policy: update, updateMask: .init(paths: ["max_count"])))
      #expect(updated.maxCount == 500)
      #expect(updated.maxAge == initial.maxAge)
      #expect(updated.etag != initial.etag)
      #expect(updated.updateTime != nil)
      #expect(updated.currentRevision == 1)
      #expect(try await server.client.getRetentionPolicy(.init()) == updated)
      let event = try await server.client.getEvent(.init(revision: 1))
      #expect(event.type == "keelson.events.EventRetentionPolicyUpdated")
      let audited = try await server.database.read { transaction in
        try await transaction.query("SELECT action, before_state, after_state FROM audit_entries")
      }
      #expect(try audited.map { try $0.get("action") } == ["event_retention_policy.updated"])
      let after: [String?] = try audited.map { try $0.get("after_state") }
      #expect(after[0]?.contains("500") == true)

      // The same again changes nothing and spends no revision.
      update.etag = ""
      let same = try await server.client.updateRetentionPolicy(
        .init(policy: update, updateMask: .init(paths: ["max_count"])))
      #expect(same == updated)
      update.etag = initial.etag
      let stale = await failure {
        _ = try await server.client.updateRetentionPolicy(
          .init(policy: update, updateMask: .init(paths: ["*"])))
      }
      #expect(stale?.code == .aborted)
      #expect(stale?.info?.metadata["etag"] == updated.etag)
    }
  }

  @Test("a policy that makes no sense is refused", arguments: TestEngine.allCases)
  func mistakes(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      func status(_ policy: API.RetentionPolicy?, _ paths: [String]) async -> String {
        let error = await failure {
          _ = try await server.client.updateRetentionPolicy(
            .init(policy: policy, updateMask: .init(paths: paths)))
        }
        #expect(error?.code == .invalidArgument)
        return error?.message ?? ""
      }
      #expect(await status(nil, ["*"]).hasPrefix("policy"))
      #expect(await status(.init(), []).hasPrefix("update_mask"))
      #expect(await status(.init(), ["etag"]).hasPrefix("update_mask"))
      #expect(await status(.init(maxCount: 99), ["max_count"]).hasPrefix("policy.max_count"))
      #expect(await status(.init(maxCount: -1), ["*"]).hasPrefix("policy.max_count"))
      #expect(await status(.init(maxAge: .init(seconds: 59)), ["max_age"]).hasPrefix("policy"))
      #expect(
        await status(.init(maxAge: .init(seconds: 1, nanos: -1)), ["max_age"]).hasPrefix("policy"))
    }
  }

  @Test(
    "more than the count are removed soon, and a subscriber behind them is told",
    arguments: TestEngine.allCases)
  func byCount(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.minimumAge = .zero
    try await EventServer.run(on: engine, limits: limits) { server in
      try await server.change(times: 2_500)
      var compactions = server.client.subscribe(
        .init(types: ["keelson.events.EventsCompacted"], classes: [.telemetry])
      ).makeAsyncIterator()
      _ = try await compactions.next()
      _ = try await server.client.updateRetentionPolicy(
        .init(policy: .init(maxCount: 100), updateMask: .init(paths: ["max_count"])))
      let told = try #require(try await compactions.next()?.event)
      #expect(told.data == .textData(#"{"count":2401,"oldest_revision":2402}"#))
      let policy = try await server.client.getRetentionPolicy(.init())
      #expect(policy.oldestRevision == 2_402)
      #expect(policy.currentRevision == 2_501)
      let status = await failure {
        for try await _ in server.client.subscribe(.init(start: .afterRevision(2_400))) { break }
      }
      #expect(status?.reason == "REVISION_COMPACTED")
      let list = try await server.client.listEvents(.init(pageSize: 1_000))
      #expect(list.events.count == 100)
      var oldest = server.client.subscribe(.init(start: .fromOldest(true))).makeAsyncIterator()
      #expect(try await oldest.next()?.revision == 2_401)
      #expect(try await oldest.next()?.revision == 2_402)
      // Changes go on where they were.
      #expect(try await server.change() == 2_502)
    }
  }

  @Test(
    "those older than the age are removed step by step, the others stay",
    arguments: TestEngine.allCases
  )
  func byAge(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.retentionInterval = .seconds(3_600)
    limits.minimumAge = .zero
    try await EventServer.run(on: engine, limits: limits) { server in
      try await server.change(times: 1_500)
      _ = try await server.client.updateRetentionPolicy(
        .init(
          policy: .init(maxAge: .init(seconds: 86_400), maxCount: 0),
          updateMask: .init(paths: ["*"])))
      #expect(try await server.service.retention.apply() == 0)
      let later = UnixTime.now - .seconds(-86_401)
      #expect(try await server.service.retention.apply(now: later) == 1_501)
      #expect(try await server.service.retention.apply(now: later) == 0)
      #expect(try await server.change() == 1_502)
      let policy = try await server.client.getRetentionPolicy(.init())
      #expect(policy.oldestRevision == 1_502)
    }
  }

  @Test(
    "what is younger than the least age stays, whatever the policy says",
    arguments: TestEngine.allCases
  )
  func minimumAge(engine: TestEngine) async throws {
    try await EventServer.run(on: engine) { server in
      try await server.change(times: 300)
      _ = try await server.client.updateRetentionPolicy(
        .init(policy: .init(maxCount: 100), updateMask: .init(paths: ["max_count"])))
      #expect(try await server.service.retention.apply() == 0)
      let later = UnixTime.now - .seconds(-601)
      #expect(try await server.service.retention.apply(now: later) == 201)
    }
  }

  @Test("an event of a wrong clock, dated in the future, keeps no others and is not kept for ever")
  func future() {
    let policy = KeelsonEventsV1.RetentionPolicy(maxAge: .init(.seconds(3_600)), maxCount: 1_000)
    #expect(policy.expired(last: 500, tooOld: 200, young: nil) == 200)
    #expect(policy.expired(last: 5_000, tooOld: nil, young: nil) == 4_000)
    #expect(policy.expired(last: 5_000, tooOld: 200, young: 3_000) == 2_999)
    #expect(policy.expired(last: 50, tooOld: nil, young: 1) == 0)
    #expect(KeelsonEventsV1.RetentionPolicy().expired(last: 5_000, tooOld: nil, young: nil) == 0)
  }

  @Test(
    "one server of the fleet removes events at a time, and another goes on when it is gone",
    arguments: TestEngine.allCases)
  func oneAtATime(engine: TestEngine) async throws {
    var limits = EventLimits()
    limits.retentionInterval = .seconds(3_600)
    limits.minimumAge = .zero
    try await EventServer.run(on: engine, limits: limits) { server in
      let now = UnixTime.now
      let soon = now - .seconds(-86_400)
      try await server.change(times: 200)
      let isTaken = try await server.database.write {
        try await RetentionRepository.take("another", until: soon, now: now, in: $0)
      }
      #expect(isTaken)
      try await server.database.change(.system()) { change in
        try await RetentionRepository.set(
          .init(maxCount: 100, etag: "r1"), revision: change.revision, in: change)
        change.audit(AuditDraft(action: "test", entityType: "test", entityID: "test"))
        change.emit(
          EventDraft(type: "keelson.events.EventRetentionPolicyUpdated", subject: "events"))
      }
      #expect(try await server.service.retention.apply() == 0)
      try await server.database.write { try await RetentionRepository.release("another", in: $0) }
      // The service looks by itself as well, and may have been late with that.
      try await server.service.retention.apply()
      #expect(try await server.client.getRetentionPolicy(.init()).oldestRevision == 102)
    }
  }
}
