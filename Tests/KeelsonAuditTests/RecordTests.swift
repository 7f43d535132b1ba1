import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Recording: many callers, one chain; retries; checkpoints; who is told.
@Suite(.serialized, .timeLimit(.minutes(5))) struct RecordTests {
  @Test(arguments: Engine.allCases)
  func manyCallersAtOnceMakeOneChain(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      try await withThrowingTaskGroup(of: [KeelsonAuditV1.RecordedEntry].self) { group in
        for caller in 0..<32 {
          group.addTask {
            var recorded: [KeelsonAuditV1.RecordedEntry] = []
            for round in 0..<5 {
              let drafts = (0..<3).map { _ in AuditServer.draft("\(caller)-\(round)") }
              let batch = try await server.record(drafts)
              // Those of one call follow one another.
              #expect(batch.map(\.sequence) == Array(batch[0].sequence..<(batch[0].sequence + 3)))
              recorded += batch
            }
            return recorded
          }
        }
        var sequences: Set<Int64> = []
        for try await recorded in group { sequences.formUnion(recorded.map(\.sequence)) }
        #expect(sequences.count == 32 * 15)
      }
      let report = try await server.verify()
      #expect(report.valid, "\(report.failure)")
      #expect(report.entries >= 480)
    }
  }

  @Test(arguments: Engine.allCases)
  func callersThatRetryTheSameAtOnceRecordItOnce(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let drafts = (0..<4).map { number in
        var draft = AuditServer.draft("\(number)")
        draft.entryId = UUIDv7.make()
        return draft
      }
      let answers = try await withThrowingTaskGroup(
        of: [KeelsonAuditV1.RecordedEntry].self
      ) { group in
        for _ in 0..<16 { group.addTask { try await server.record(drafts) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(Set(answers.map { $0.map(\.sequence) }).count == 1)
      #expect(answers.flatMap { $0 }.filter { !$0.duplicate }.count == 4)
      #expect(try await server.list(.init(entityType: "thing")).count == 4)
    }
  }

  @Test(arguments: Engine.allCases)
  func aCallThatIsRefusedTakesNoOtherWithIt(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      var taken = AuditServer.draft("taken")
      taken.entryId = UUIDv7.make()
      try await server.record([taken])
      taken.entityId = "other"
      let conflicting = taken
      await withTaskGroup(of: RPCError.Code?.self) { group in
        for number in 0..<20 {
          group.addTask {
            await code {
              try await server.record(
                number % 5 == 0
                  ? [AuditServer.draft("lost"), conflicting] : [AuditServer.draft("kept")])
            }
          }
        }
        var refused = 0
        for await code in group {
          if code != nil {
            #expect(code == .alreadyExists)
            refused += 1
          }
        }
        #expect(refused == 4)
      }
      #expect(try await server.list(.init(entityId: "kept")).count == 16)
      #expect(try await server.list(.init(entityId: "lost")).isEmpty)
      #expect(try await server.verify().valid)
    }
  }

  @Test func tooManyThatWaitAreRefused() async throws {
    var limits = AuditLimits()
    limits.waitingEntries = 5
    try await AuditServer.run(.sqlite, limits: limits) { server in
      let error = await code { try await server.record((0..<6).map { AuditServer.draft("\($0)") }) }
      #expect(error == .resourceExhausted)
    }
  }

  @Test(arguments: Engine.allCases)
  func checkpointsAreSignedWhetherOrNotSomethingHappens(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      // Starting signs the first one; not due yet is none.
      #expect(try await server.service.checkpointer.make(onlyIfDue: true) == nil)
      let first = try await server.client.createCheckpoint(.init())
      let signed = try await server.service.checkpointer.make(onlyIfDue: false)
      let silent = KeelsonAuditV1.Checkpoint(try #require(signed))
      #expect(silent.count == 0)
      #expect(silent.sequence == first.sequence)
      #expect(silent.number == first.number + 1)
      let listed = try await server.client.listCheckpoints(.init(pageSize: 2))
      #expect(listed.checkpoints.map(\.number) == [silent.number, first.number])
      #expect(!listed.nextPageToken.isEmpty)
      let keys = try await server.client.listSigningKeys(.init()).keys
      #expect(keys.map(\.current) == [true])
      #expect(keys[0].keyId == silent.keyId)
      #expect(try await server.verify().checkpoints == 3)
      #expect(
        await code { _ = try await server.client.getCheckpoint(.init(number: 99)) } == .notFound)
      #expect(try await server.client.getCheckpoint(.init()).number == silent.number)
    }
  }

  @Test func oneIsSignedAfterEnoughEntries() async throws {
    var limits = AuditLimits()
    limits.checkpointEntries = 20
    try await AuditServer.run(.sqlite, limits: limits) { server in
      let before = try await server.client.getCheckpoint(.init()).number
      _ = try await server.recordMany(30)
      // Signed by the service's own task, which then wakes nobody: ask until it has.
      while try await server.client.getCheckpoint(.init()).number == before { await Task.yield() }
      #expect(try await server.verify().valid)
    }
  }

  @Test(arguments: Engine.allCases)
  func whoeverListensIsToldOfEntries(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let subscription = server.telemetry.subscribe(limit: 100) {
        $0 == "keelson.audit.AuditLogCreated"
      }
      _ = try await server.recordMany(3)
      var told: [TelemetryEvent] = []
      while told.count < 3, let batch = try await subscription.next() { told += batch.events }
      #expect(told.map(\.type) == Array(repeating: "keelson.audit.AuditLogCreated", count: 3))
      #expect(told.allSatisfy { $0.actor == "anna" })
    }
  }

  @Test func tailsEndWhenTheDatabaseDoes() async throws {
    try await AuditServer.run(.sqlite) { server in
      do {
        var isOpen = true
        for try await _ in server.client.tailEntries(.init()) {
          // The first heartbeat says that it waits.
          if isOpen { await server.database.close() }
          isOpen = false
        }
        Issue.record("The tail ended well.")
      } catch let error as RPCError {
        #expect(error.code == .unavailable)
        #expect(error.details.contains { if case .retryInfo = $0 { true } else { false } })
      }
    }
  }

  @Test func aTailBeyondTheEndIsRefused() async throws {
    try await AuditServer.run(.sqlite) { server in
      let beyond = await code {
        for try await _ in server.client.tailEntries(.init(afterSequence: .max)) { break }
      }
      #expect(beyond == .outOfRange)
      let forged = await code {
        _ = try await server.client.listEntries(.init(pageToken: "0.9223372036854775807"))
      }
      #expect(forged == .invalidArgument)
    }
  }

  @Test(arguments: Engine.allCases)
  func readingIsRecorded(_ engine: Engine) async throws {
    try await AuditServer.run(engine, auditsReads: true) { server in
      _ = try await server.list(.init(actor: "anna"))
      _ = try await server.verify()
      let reads = try await server.list(.init(category: "access"))
      #expect(reads.contains { $0.action == "audit.verify_entries" })
      let list = try #require(reads.last { $0.action == "audit.list_entries" })
      #expect(list.attributes["filter"]?.contains("anna") == true)
    }
  }
}
