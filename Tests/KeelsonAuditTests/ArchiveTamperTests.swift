import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// What somebody does to archives, or with their help, is refused or found.
@Suite(.serialized, .timeLimit(.minutes(5))) struct ArchiveTamperTests {
  /// Records twenty entries and archives all there are; gives the number of the first.
  static func archived(
    _ server: AuditServer
  ) async throws -> (first: Int64, archive: KeelsonAuditV1.Archive) {
    let first = try await server.recordMany(20)
    let result = try await server.client.archiveEntries(.init(beforeTime: .init(.now)))
    #expect(try await server.verify().valid)
    return (first, try #require(result.archives.first))
  }

  static let positionMoved = """
    UPDATE change_sequence SET archived_audit_sequence = last_audit_sequence,
      archived_audit_hash = last_audit_hash
    """

  @Test(arguments: Engine.allCases)
  func theArchivedPositionMovesOverArchivesAlone(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await server.recordMany(5)
      await #expect(throws: StoreError.self) {
        try await server.database.write { transaction in
          try await transaction.execute(Self.positionMoved)
          try await transaction.execute("DELETE FROM audit_entries")
        }
      }
      #expect(try await server.verify().valid)
      // Whoever can take the triggers away is found.
      try await server.tamper(Self.positionMoved, "DELETE FROM audit_entries")
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == 1)
      #expect(report.failure.contains("archive"))
    }
  }

  @Test(arguments: Engine.allCases)
  func whatProvesSomethingIsAppendOnly(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await Self.archived(server)
      _ = try await server.client.createCheckpoint(.init())
      for statement in [
        "UPDATE audit_archives SET name = 'x'", "DELETE FROM audit_archives",
        "UPDATE audit_checkpoints SET hash = previous", "DELETE FROM audit_checkpoints",
        "UPDATE audit_signing_keys SET public_key = 'x'", "DELETE FROM audit_signing_keys",
        """
        INSERT INTO audit_checkpoints SELECT number + 7, sequence, hash, entry_count, time,
          previous, key_id, signature FROM audit_checkpoints
        """,
      ] {
        let error = await #expect(throws: StoreError.self, "\(statement)") {
          try await server.database.write { try await $0.execute(statement) }
        }
        #expect(error?.code == .constraint, "\(statement)")
      }
      #expect(try await server.verify().valid)
    }
  }

  @Test(arguments: Engine.allCases)
  func anArchivedEntryThatWasRewrittenWithItsHashIsFound(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let (first, archive) = try await Self.archived(server)
      var forged = try await #require(
        server.database.read { try await AuditRepository.entry(first + 3, in: $0) })
      forged.actor = "bob"
      let hash = server.database.dialect.blob(forged.computedHash)
      try await server.tamper(
        """
        UPDATE audit_entries SET actor = 'bob', hash = \(hash) WHERE sequence = \(first + 3)
        """)
      let report = try await server.verify()
      #expect(report.failedSequence == first + 3)
      #expect(report.failedEntryId == forged.id)
      // Without the file, the entry after it does not follow.
      try FileManager.default.removeItem(atPath: "\(server.folder)/audit-archives/\(archive.name)")
      #expect(try await server.verify().failedSequence == first + 4)
    }
  }

  @Test func aCheckpointOverWhatIsArchivedIsCompared() async throws {
    try await AuditServer.run(.sqlite) { server in
      _ = try await server.recordMany(5)
      let checkpoint = try await server.client.createCheckpoint(.init())
      let (_, archive) = try await Self.archived(server)
      // The one after it as well: it names the hash of the one before.
      try await server.tamper(
        "DELETE FROM audit_entries WHERE sequence <= \(checkpoint.sequence + 1)")
      let whole = try await server.verify()
      #expect(whole.valid)
      // The one that the server signed when it started, of no entry, and that one.
      #expect(whole.checkpoints == 2)
      try FileManager.default.removeItem(atPath: "\(server.folder)/audit-archives/\(archive.name)")
      let rest = try await server.verify()
      #expect(rest.valid)
      #expect(rest.checkpoints == 1, "one whose entry is not here is not counted")
    }
  }

  @Test func anEntryBeforeTheFirstIsFound() async throws {
    try await AuditServer.run(.sqlite) { server in
      _ = try await Self.archived(server)
      try await server.tamper("UPDATE audit_entries SET sequence = -5 WHERE sequence = 2")
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == -5)
    }
  }

  @Test func aChangedArchiveIsFound() async throws {
    try await AuditServer.run(.sqlite) { server in
      let (_, archive) = try await Self.archived(server)
      let path = "\(server.folder)/audit-archives/\(archive.name)"
      var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
      bytes[bytes.count / 2] ^= 4
      try bytes.write(to: URL(fileURLWithPath: path))
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failure.contains(archive.name))
    }
  }

  @Test(arguments: [
    "UPDATE audit_archives SET signature = x'00'",
    "UPDATE audit_archives SET signed_text = replace(signed_text, 'entries', 'entry')",
    "UPDATE audit_archives SET name = 'audit-000000000001-000000000021-00000000.ndjson.gz'",
    "UPDATE audit_archives SET first_sequence = 2", "DELETE FROM audit_archives",
  ])
  func aChangedRowOfAnArchiveIsFound(_ statement: String) async throws {
    try await AuditServer.run(.sqlite) { server in
      _ = try await Self.archived(server)
      try await server.tamper(statement)
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failure.contains("archive"))
    }
  }

  @Test(arguments: Engine.allCases)
  func noOtherFileIsSentAsAnArchive(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await server.recordMany(3)
      let name = "../audit-signing-key.pem"
      let forged = AuditArchiveManifest(
        name: name, firstSequence: 1, lastSequence: 2, entries: 2,
        firstTime: UnixTime(microseconds: 0), lastTime: UnixTime(microseconds: 0),
        previousHash: AuditChain.origin, lastHash: AuditChain.origin, sizeBytes: 1,
        fileHash: AuditChain.origin, createTime: UnixTime(microseconds: 0),
        keyID: server.service.signingKey.verifyingKey.id)
      try await server.database.write { transaction in
        try await transaction.execute(
          """
          INSERT INTO audit_archives
            (last_sequence, first_sequence, last_hash, name, signed_text, signature)
          VALUES (2, 1, $1, $2, $3, $4)
          """,
          [
            .blob(forged.lastHash), .text(name), .text(forged.signedText),
            .blob([UInt8](repeating: 0, count: 64)),
          ])
      }
      let found = await code {
        for try await _ in server.client.downloadArchive(.init(name: name)) {}
      }
      #expect(found == .dataLoss)
      #expect(await code { _ = try await server.client.getArchive(.init(name: name)) } == .dataLoss)
      #expect(await code { _ = try await server.client.listArchives(.init()) } == .dataLoss)
    }
  }
}
