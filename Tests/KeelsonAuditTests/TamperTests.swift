import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Whatever somebody does to the stored trail who may do everything in the database, `verify` finds.
@Suite(.serialized, .timeLimit(.minutes(5))) struct TamperTests {
  /// What is done, with the number of the entry that has to be named.
  struct Tampering: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var statements: [String]
    /// Where it is found, counted from the first of the ten recorded entries.
    var offset: Int64
  }

  /// `{n}` stands for the number of the first entry plus n.
  static let tamperings: [Tampering] =
    [
      ("entry_id", "'other'"), ("time", "time + 1"), ("occur_time", "5"), ("revision", "7"),
      ("recorder", "'x'"), ("actor", "'bob'"), ("action", "'x.y'"), ("entity_type", "'x'"),
      ("entity_id", "'x'"), ("before_state", "'{}'"), ("after_state", "'{}'"),
      ("attributes", "'{}'"), ("category", "'x'"), ("outcome", "'denied'"),
      ("correlation_id", "'x'"), ("peer", "'x'"), ("user_agent", "'x'"),
      ("subject_key_id", "'x'"), ("hash", "previous_hash"), ("previous_hash", "hash"),
    ].map { column, value in
      Tampering(
        testDescription: "changing \(column)",
        statements: ["UPDATE audit_entries SET \(column) = \(value) WHERE sequence = {4}"],
        offset: 4)
    } + [
      Tampering(
        testDescription: "deleting one",
        statements: ["DELETE FROM audit_entries WHERE sequence = {4}"], offset: 5),
      Tampering(
        testDescription: "deleting the newest",
        statements: ["DELETE FROM audit_entries WHERE sequence = {9}"], offset: 9),
      Tampering(
        testDescription: "swapping two",
        statements: [
          "UPDATE audit_entries SET sequence = -1 WHERE sequence = {4}",
          "UPDATE audit_entries SET sequence = {4} WHERE sequence = {5}",
          "UPDATE audit_entries SET sequence = {5} WHERE sequence = -1",
        ], offset: 4),
      Tampering(
        testDescription: "moving the end of the trail back as well",
        statements: [
          "DELETE FROM audit_entries WHERE sequence > {7}",
          """
          UPDATE change_sequence SET last_audit_sequence = {7},
            last_audit_hash = (SELECT hash FROM audit_entries WHERE sequence = {7})
          """,
        ], offset: 8),
    ]

  @Test(arguments: Engine.allCases, tamperings)
  func whatIsDoneIsFound(_ engine: Engine, _ tampering: Tampering) async throws {
    try await AuditServer.run(engine) { server in
      let first = try await server.recordMany(10)
      // Without it nothing would tell a trail that was cut from one that never was longer.
      try await server.service.checkpointer.make(onlyIfDue: false)
      #expect(try await server.verify().valid)
      for statement in tampering.statements {
        try await server.tamper(
          (0..<10).reduce(statement) { $0.replacing("{\($1)}", with: "\(first + Int64($1))") })
      }
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == first + tampering.offset, "\(report.failure)")
      #expect(!report.failure.isEmpty)
    }
  }

  @Test(arguments: Engine.allCases)
  func aTrailThatWasRewrittenWholeIsFoundByItsCheckpoint(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await server.recordMany(10)
      _ = try await server.client.createCheckpoint(.init())
      let entries = try await server.database.read {
        try await AuditEntries.select(after: 0, limit: 100, in: $0)
      }
      var chain = AuditChain()
      for entry in entries {
        var forged = entry
        if entry.sequence == 5 { forged.actor = "bob" }
        forged = chain.append(forged)
        let dialect = server.database.dialect
        try await server.tamper(
          """
          UPDATE audit_entries SET actor = '\(forged.actor)', hash = \(dialect.blob(forged.hash)),
            previous_hash = \(dialect.blob(forged.previousHash)) WHERE sequence = \(forged.sequence)
          """)
      }
      let dialect = server.database.dialect
      try await server.tamper(
        "UPDATE change_sequence SET last_audit_hash = \(dialect.blob(chain.hash))")
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failure.contains("checkpoint"))
    }
  }

  @Test(arguments: Engine.allCases)
  func aForgedCheckpointIsFound(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await server.recordMany(3)
      _ = try await server.client.createCheckpoint(.init())
      _ = try await server.recordMany(3)
      _ = try await server.client.createCheckpoint(.init())
      try await server.tamper("UPDATE audit_checkpoints SET entry_count = 2 WHERE number = 3")
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failure.contains("checkpoint 3"))
    }
  }

  @Test(arguments: Engine.allCases)
  func theDatabaseItselfRefuses(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let first = try await server.recordMany(3)
      for statement in [
        "UPDATE audit_entries SET actor = 'bob' WHERE sequence = \(first)",
        "DELETE FROM audit_entries WHERE sequence = \(first)",
        "DELETE FROM audit_entries",
      ] {
        await #expect(throws: StoreError.self) {
          try await server.database.write { try await $0.execute(statement) }
        }
      }
      #expect(try await server.verify().valid)
    }
  }
}
