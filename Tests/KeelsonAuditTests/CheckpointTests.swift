import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Checkpoints: who may have them, when they are due, and that all of them are checked.
@Suite(.serialized, .timeLimit(.minutes(5))) struct CheckpointTests {
  @Test(arguments: Engine.allCases)
  func whoAsksForOneIsWrittenDownAndCovered(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let checkpoint = try await server.client.createCheckpoint(.init())
      let entries = try await server.list(.init(action: "audit.checkpoint_created"))
      #expect(entries.map(\.sequence) == [checkpoint.sequence])
      #expect(entries.first?.entityId == "\(checkpoint.number)")
      #expect(entries.first?.hash_ == checkpoint.hash_)
      #expect(try await server.verify().valid)
    }
  }

  @Test func tooManyAreRefused() async throws {
    var limits = AuditLimits()
    limits.checkpointsPerHour = 2
    try await AuditServer.run(.sqlite, limits: limits) { server in
      for _ in 0..<2 { _ = try await server.client.createCheckpoint(.init()) }
      do {
        _ = try await server.client.createCheckpoint(.init())
        Issue.record("A third was signed.")
      } catch let error as RPCError {
        #expect(error.code == .resourceExhausted)
        #expect(error.details.contains { if case .retryInfo = $0 { true } else { false } })
      }
    }
  }

  @Test func anAllowanceComesBackEvenly() {
    let start = ContinuousClock.now
    var allowance = CheckpointAllowance(perHour: 4, at: start)
    for _ in 0..<4 { #expect(allowance.take(at: start) == nil) }
    #expect(allowance.take(at: start) == .seconds(900))
    #expect(allowance.take(at: start + .seconds(901)) == nil)
    #expect(allowance.take(at: start + .seconds(902)) != nil)
    // No more than an hour's is saved up.
    let later = start + .seconds(1_000_000)
    for _ in 0..<4 { #expect(allowance.take(at: later) == nil) }
    #expect(allowance.take(at: later) != nil)
  }

  @Test(arguments: Engine.allCases)
  func oneFromTheFutureDoesNotSilenceTheNext(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let checkpointer = server.service.checkpointer
      #expect(try await checkpointer.make(onlyIfDue: true) == nil)
      try await server.tamper("UPDATE audit_checkpoints SET time = time + 1000000000000")
      #expect(try await checkpointer.timeUntilDue() == .zero)
      let next = try #require(try await checkpointer.make(onlyIfDue: true))
      #expect(next.time <= .now)
      #expect(try await checkpointer.make(onlyIfDue: true) == nil)
      #expect(try await checkpointer.timeUntilDue() > .zero)
    }
  }

  @Test func allOfThemAreChecked() async throws {
    try await AuditServer.run(.sqlite) { server in
      let count = AuditVerification.pageSize + 50
      let (key, dialect) = (server.service.signingKey, server.database.dialect)
      _ = try await server.recordMany(2)
      try await server.database.write { transaction in
        let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
        var last = try await AuditRepository.checkpoints(before: .max, limit: 1, in: transaction)[0]
        for _ in 0..<count {
          last = try AuditCheckpoint(of: head.audit, at: .now, after: last, signedBy: key)
          try await AuditRepository.insert(last, in: transaction)
        }
      }
      let report = try await server.verify()
      #expect(report.valid)
      #expect(report.checkpoints == Int64(count) + 1)
      try await server.tamper(
        "UPDATE audit_checkpoints SET entry_count = 7 WHERE number = \(count)")
      let found = try await server.verify()
      #expect(found.failure.contains("checkpoint \(count)"))
    }
  }

  @Test func hashesAreComparedByEntry() throws {
    let key = try SigningKeyFixture.make()
    var (hashes, last): (CheckpointHashes, AuditCheckpoint?) = (CheckpointHashes(), nil)
    for sequence in [0, 3, 3, 7] as [Int64] {
      let hash = [UInt8](repeating: UInt8(sequence), count: 32)
      let checkpoint = try AuditCheckpoint(
        of: AuditChain(sequence: sequence, hash: hash), at: .now, after: last, signedBy: key)
      hashes.append(checkpoint)
      last = checkpoint
    }
    func hash(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: 32) }
    #expect(hashes.compare(3, hash(3)) == nil)
    #expect(hashes.compared == 2)
    #expect(hashes.compare(3, hash(3)) == nil)
    #expect(hashes.compared == 2)
    #expect(hashes.compare(5, hash(9)) == nil)
    #expect(hashes.compare(7, hash(3)) == 4)
    #expect(hashes.compare(8, hash(3)) == nil)
  }
}
