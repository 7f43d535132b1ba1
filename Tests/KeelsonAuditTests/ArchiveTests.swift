import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Retention: what is archived verifies, and nothing is deleted that is not archived.
@Suite(.serialized, .timeLimit(.minutes(5))) struct ArchiveTests {
  /// Makes everything recorded so far that much older. The triggers are away meanwhile, and the
  /// chain is made anew; an entry of now comes after it.
  static func age(_ server: AuditServer, days: Int64) async throws {
    let entries = try await server.database.read {
      try await AuditEntries.select(after: 0, limit: 10_000, in: $0)
    }
    let dialect = server.database.dialect
    var chain = AuditChain()
    var statements: [String] = ["DELETE FROM audit_checkpoints"]
    for entry in entries {
      var aged = entry
      aged.time.microseconds -= days * 86_400_000_000
      aged = chain.append(aged)
      statements.append(
        """
        UPDATE audit_entries SET time = \(aged.time.microseconds),
          hash = \(dialect.blob(aged.hash)), previous_hash = \(dialect.blob(aged.previousHash))
        WHERE sequence = \(aged.sequence)
        """)
    }
    // A server takes the head only where it goes on from the one it has seen, so an entry is added.
    var added = try #require(entries.last)
    added.id = UUIDv7.make()
    added = chain.append(added)
    let columns = AuditEntries.columns
      .replacing("sequence, entry_id", with: "\(added.sequence), '\(added.id)'")
      .replacing(
        "previous_hash, hash",
        with: "\(dialect.blob(added.previousHash)), \(dialect.blob(added.hash))")
    statements.append(
      """
      INSERT INTO audit_entries (\(AuditEntries.columns))
      SELECT \(columns) FROM audit_entries WHERE sequence = \(added.sequence - 1)
      """)
    // Its time is not what was made older.
    statements.append(
      "UPDATE audit_entries SET time = \(added.time.microseconds) WHERE sequence = \(added.sequence)"
    )
    statements.append(
      """
      UPDATE change_sequence SET last_audit_sequence = \(added.sequence),
        last_audit_hash = \(dialect.blob(chain.hash))
      """)
    try await server.tamper(statements)
  }

  static func setPolicy(
    _ server: AuditServer, days: Int64, categories: [String: Int64] = [:]
  ) async throws {
    _ = try await server.client.updateRetentionPolicy(
      .init(
        policy: .init(
          defaultRetention: .init(seconds: days * 86_400),
          categories: categories.mapValues { .init(seconds: $0 * 86_400) },
          archiveInterval: .init(seconds: 0), auditReads: false)))
  }

  /// Checks an archive's file as the command line does.
  static func verify(_ archive: KeelsonAuditV1.Archive, _ server: AuditServer) throws
    -> AuditFileVerifier.Report
  {
    let path = "\(server.folder)/audit-archives/\(archive.name)"
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    #expect(SHA256.hash(bytes) == archive.fileHash)
    let manifest = try AuditArchiveManifest(
      parsing: try String(contentsOfFile: path + ".manifest.json", encoding: .utf8))
    #expect(manifest.isSigned(by: server.service.signingKey.verifyingKey))
    #expect(manifest.signedText == archive.signedText)
    var verifier = AuditFileVerifier()
    try GzipDecompressor().decompress(bytes) { try verifier.read($0) }
    return try verifier.finish()
  }

  @Test(arguments: Engine.allCases)
  func expiredEntriesAreArchivedAndDeletedAndTheRestVerifies(_ engine: Engine) async throws {
    var limits = AuditLimits()
    limits.entriesPerArchive = 40
    try await AuditServer.run(engine, limits: limits) { server in
      var drafts = (0..<100).map { AuditServer.draft("old-\($0)") }
      drafts[10].category = "critical"
      drafts[90].category = "critical"
      let recorded = try await server.record(drafts)
      try await Self.age(server, days: 400)
      let new = try await server.recordMany(5)
      try await Self.setPolicy(server, days: 365, categories: ["critical": 2_555])
      let newest = try await server.list()[0].sequence

      let plan = try await server.client.archiveEntries(.init(validateOnly: true))
      let result = try await server.client.archiveEntries(.init())
      #expect(plan.archived == result.archived)
      #expect(plan.deleted == result.deleted)
      // The policy's own change, of category critical, came before the hundred.
      #expect(result.archived == recorded[99].sequence)
      #expect(result.archives.count == 3)
      for archive in result.archives {
        let report = try Self.verify(archive, server)
        #expect(report.failure == nil)
        #expect(report.entries == archive.entries)
      }

      let left = try await server.list()
      #expect(left.filter { $0.entityId == "old-10" || $0.entityId == "old-90" }.count == 2)
      #expect(!left.contains { $0.entityId == "old-11" })
      #expect(left.contains { $0.sequence == new })
      #expect(left.contains { $0.action == "audit.archived" && $0.sequence > newest })
      let report = try await server.verify()
      #expect(report.valid, "\(report.failure)")
      #expect(report.archivedSequence == recorded[99].sequence)
      // The trail goes on, and the next time there is nothing to do.
      _ = try await server.recordMany(3)
      #expect(try await server.verify().valid)
      let again = try await server.client.archiveEntries(.init())
      #expect(again.archives.isEmpty)
      #expect(again.deleted == 0)

      let gone = try await #require(
        throws: RPCError.self,
        performing: {
          _ = try await server.client.getEntry(.init(name: .sequence(recorded[11].sequence)))
        })
      #expect(gone.code == .notFound)
      #expect(gone.message.contains("audit-0000"))
      let tail = await code {
        for try await _ in server.client.tailEntries(.init(afterSequence: 1)) { break }
      }
      #expect(tail == .outOfRange)

      // An export of everything begins where the archives end, and verifies.
      let file = try AuditFileTestsSupport.verify(try await server.export())
      #expect(file.failure == nil)
      #expect(file.firstSequence == recorded[99].sequence + 1)
      #expect(
        await code { _ = try await server.export(.init(afterSequence: 1)) } == .outOfRange)
      #expect(
        await code { _ = try await server.export(.init(upToSequence: recorded[50].sequence)) }
          == .outOfRange)
      let critical = try AuditFileTestsSupport.verify(
        try await server.export(.init(filter: .init(category: "critical"))), isFiltered: true)
      #expect(critical.failure == nil)
      #expect(critical.firstSequence < recorded[99].sequence)
    }
  }

  @Test(arguments: Engine.allCases)
  func nothingIsDeletedThatThePolicyKeeps(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await server.recordMany(20)
      let before = try await server.list().count
      let time = UnixTime.now
      let result = try await server.client.archiveEntries(.init(beforeTime: .init(time)))
      #expect(result.archived > 0)
      #expect(result.deleted == 0)
      // And the entry about it.
      #expect(try await server.list().count == before + 1)
      #expect(try await server.verify().valid)
      #expect(try await server.client.listArchives(.init()).archives.count == 1)
    }
  }

  @Test(arguments: Engine.allCases)
  func aTrailThatDoesNotFitIsNotArchived(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let first = try await server.recordMany(20)
      try await server.tamper(
        "UPDATE audit_entries SET actor = 'bob' WHERE sequence = \(first + 3)")
      let before = try await server.list().count
      let found = await code {
        _ = try await server.client.archiveEntries(.init(beforeTime: .init(.now)))
      }
      #expect(found == .dataLoss)
      #expect(try await server.list().count == before)
      #expect(try await server.client.listArchives(.init()).archives.isEmpty)
    }
  }

  @Test func whatIsKeptOfAnArchivedPartIsStillChecked() async throws {
    try await AuditServer.run(.sqlite) { server in
      let first = try await server.recordMany(20)
      _ = try await server.client.archiveEntries(.init(beforeTime: .init(.now)))
      try await server.tamper(
        "UPDATE audit_entries SET actor = 'bob' WHERE sequence = \(first + 3)")
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == first + 3)
    }
  }

  @Test func archivesThatAreNotThereAreNotFound() async throws {
    try await AuditServer.run(.sqlite) { server in
      _ = try await server.recordMany(2)
      #expect(
        await code { _ = try await server.client.getArchive(.init(name: "x")) } == .notFound)
      #expect(
        await code { _ = try await server.client.getArchive(.init()) } == .invalidArgument)
      #expect(
        await code {
          for try await _ in server.client.downloadArchive(.init(name: "../audit.pem")) {}
        } == .notFound)
      let archive = try await server.client.archiveEntries(.init(beforeTime: .init(.now)))
        .archives[0]
      var bytes: [UInt8] = []
      for try await piece in server.client.downloadArchive(.init(name: archive.name)) {
        bytes += piece.data
      }
      #expect(SHA256.hash(bytes) == archive.fileHash)
      try FileManager.default.removeItem(
        atPath: "\(server.folder)/audit-archives/\(archive.name)")
      #expect(
        await code {
          for try await _ in server.client.downloadArchive(.init(name: archive.name)) {}
        } == .failedPrecondition)
    }
  }

  @Test func aPolicyIsCheckedAndItsEtagHolds() async throws {
    try await AuditServer.run(.sqlite) { server in
      var policy = try await server.client.getRetentionPolicy(.init())
      let old = policy.etag
      policy.defaultRetention = .init(seconds: 10)
      let updated = try await server.client.updateRetentionPolicy(.init(policy: policy))
      #expect(updated.etag != old)
      policy.defaultRetention = .init(seconds: 20)
      #expect(
        await code { _ = try await server.client.updateRetentionPolicy(.init(policy: policy)) }
          == .aborted)
      for wrong in [
        KeelsonAuditV1.RetentionPolicy(defaultRetention: .init(seconds: -1)),
        .init(categories: ["A b": .init(seconds: 5)]), .init(archiveInterval: .init(seconds: 5)),
      ] {
        #expect(
          await code { _ = try await server.client.updateRetentionPolicy(.init(policy: wrong)) }
            == .invalidArgument)
      }
      #expect(
        await code {
          _ = try await server.client.archiveEntries(
            .init(beforeTime: .init(UnixTime(microseconds: UnixTime.now.microseconds + 60_000_000)))
          )
        } == .invalidArgument)
    }
  }

  @Test func theRulesOfAPolicy() throws {
    let now = UnixTime(microseconds: 1_000 * 86_400_000_000)
    func day(_ number: Int64) -> UnixTime { UnixTime(microseconds: number * 86_400_000_000) }
    var policy = KeelsonAuditV1.RetentionPolicy(defaultRetention: .init(seconds: 100 * 86_400))
    #expect(RetentionRules(policy).archiveTime(at: now) == day(900))
    policy.categories = ["access": .init(seconds: 30 * 86_400), "critical": .init(seconds: 0)]
    #expect(RetentionRules(policy).archiveTime(at: now) == day(970))
    let expiry = try #require(RetentionRules(policy).expiry(at: now, first: 2))
    #expect(
      expiry.sql
        == "((category = $2 AND time < $3) OR (category NOT IN ($4, $5) AND time < $6))")
    #expect(
      expiry.parameters == [
        .text("access"), SQLValue(day(970)), .text("access"), .text("critical"),
        SQLValue(day(900)),
      ])
    policy.defaultRetention = nil
    policy.categories = [:]
    #expect(RetentionRules(policy).archiveTime(at: now) == nil)
    #expect(RetentionRules(policy).expiry(at: now, first: 1) == nil)
  }
}
