import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Synchronization
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Whose signatures count, and what is found of keys that were taken away.
@Suite(.serialized, .timeLimit(.minutes(5))) struct TrustTests {
  /// What anybody who may write rows can do: no trigger is away.
  @Test(arguments: Engine.allCases)
  func aTrailThatAKeyOfSomebodyElseArchivedIsFound(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      _ = try await server.recordMany(20)
      let head = try await server.database.read { try await ChangeHead.current(in: $0).audit }
      let key = try SigningKey.make()
      let none = UnixTime(microseconds: 0)
      let forged = try AuditArchiveManifest(
        name: AuditArchiveManifest.fileName(first: 1, last: head.sequence, tag: "00000000"),
        firstSequence: 1, lastSequence: head.sequence, entries: head.sequence, firstTime: none,
        lastTime: none, previousHash: AuditChain.origin, lastHash: head.hash, sizeBytes: 1,
        fileHash: AuditChain.origin, createTime: none, keyID: ""
      ).signed(by: key)
      try await server.database.write { transaction in
        try await AuditRepository.insert(
          .init(id: key.verifyingKey.id, pem: key.verifyingKey.pem, createTime: .now),
          in: transaction)
        #expect(try await AuditRepository.insert(forged, in: transaction))
        try await transaction.execute("DELETE FROM audit_entries")
      }
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == 1)
      #expect(report.failure.contains(key.verifyingKey.id))
      #expect(report.untrustedKeyIds == [key.verifyingKey.id])
      #expect(report.trustedKeyIds == [server.service.signingKey.verifyingKey.id])
    }
  }

  @Test func anotherServersArchivesCountWhenItsKeyIsTrusted() async throws {
    try await AuditServer.run(.sqlite) { server in
      let (_, archive) = try await ArchiveTamperTests.archived(server)
      let (own, file) = ("\(server.folder)/other.pem", "\(server.folder)/trusted.pem")
      let stranger = try await server.other { $0.signingKeyFile = own }
      let found = try await stranger.client.verifyEntries(.init())
      #expect(!found.valid && found.untrustedKeyIds == [archive.keyId])
      #expect(found.checkpoints == 0, "those of a key that is not trusted do not count")
      await stranger.end()
      let keys = try await server.client.listSigningKeys(.init()).keys
      try keys.map(\.publicKey).joined().write(toFile: file, atomically: true, encoding: .utf8)
      let friend = try await server.other {
        $0.signingKeyFile = own
        $0.trustedKeysFile = file
      }
      let report = try await friend.client.verifyEntries(.init())
      #expect(report.valid, "\(report.failure)")
      #expect(report.trustedKeyIds.contains(archive.keyId) && report.untrustedKeyIds.isEmpty)
      #expect(report.unreadArchives.isEmpty)
      try FileManager.default.removeItem(atPath: "\(server.folder)/audit-archives/\(archive.name)")
      let unread = try await friend.client.verifyEntries(.init())
      #expect(unread.valid)
      #expect(unread.unreadArchives == [archive.name] && unread.unreadArchiveCount == 1)
      await friend.end()
    }
  }

  @Test(arguments: ["", "nothing", "-----END PUBLIC KEY-----", "whole then rest"])
  func aFileOfTrustedKeysThatIsNoneIsRefused(_ text: String) throws {
    let path = NSTemporaryDirectory() + "keelson-trusted-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: path) }
    #expect(throws: AuditFolderError.self) { try TrustedKeysFile.load(path) }
    let key = try SigningKey.make().verifyingKey
    let content = text == "whole then rest" ? key.pem + "rest" : text
    try content.write(toFile: path, atomically: true, encoding: .utf8)
    #expect(throws: AuditFolderError.self) { try TrustedKeysFile.load(path) }
    try (key.pem + key.pem).write(toFile: path, atomically: true, encoding: .utf8)
    #expect(try TrustedKeysFile.load(path).map(\.id) == [key.id, key.id])
  }

  private static let erasing = """
    UPDATE audit_subjects
    SET subject = NULL, wrapping_key_id = NULL, wrapped_key = NULL, erase_time = 1
    """

  @Test(arguments: Engine.allCases)
  func keysOfSubjectsAreNotTakenAway(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      try await server.record([SubjectTests.personal()])
      var statements = [
        "DELETE FROM audit_subjects", "UPDATE audit_subjects SET key_id = 'x'",
        "UPDATE audit_subjects SET wrapped_key = NULL",
        "UPDATE audit_subjects SET subject = NULL",
        "UPDATE audit_subjects SET wrapped_key = \(server.database.dialect.blob([1]))",
        "UPDATE audit_subjects SET erase_time = 1",
        "INSERT INTO audit_subjects (key_id, create_time, erase_time) VALUES ('x', 1, 1)",
      ]
      switch engine {
      case .sqlite:
        statements.append(
          """
          INSERT OR REPLACE INTO audit_subjects
          SELECT 'x', subject, wrapping_key_id, x'00', create_time, erase_time FROM audit_subjects
          """)
      case .postgres: statements += [Self.erasing, "TRUNCATE audit_subjects"]
      }
      for statement in statements {
        let error = await #expect(throws: StoreError.self, "\(statement)") {
          try await server.database.write { try await $0.execute(statement) }
        }
        #expect(error?.code == .constraint, "\(statement)")
      }
      #expect(try await server.verify().valid)
      _ = try await server.client.eraseSubject(.init(subject: "mona@example.org"))
      #expect(try await server.verify().valid)
      await #expect(throws: StoreError.self) {
        try await server.database.write {
          try await $0.execute("UPDATE audit_subjects SET erase_time = erase_time + 1")
        }
      }
    }
  }

  @Test(arguments: Engine.allCases)
  func aKeyThatWasDestroyedWithoutAnEntryIsFound(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let recorded = try await server.record([SubjectTests.personal()])
      try await server.tamper(Self.erasing)
      // What a caller records about it is no proof.
      let key = try await server.database.read {
        try await $0.query("SELECT key_id FROM audit_subjects")[0].get(0, as: String.self)
      }
      try await server.record([
        .init(
          actor: "bob", action: "audit.subject_erased", entityType: "audit_subject", entityId: key)
      ])
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == recorded[0].sequence)
      #expect(report.failure.contains(key))
    }
  }

  @Test(arguments: Engine.allCases)
  func aKeyWithoutARowIsFoundAndIsNotCalledErased(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let recorded = try await server.record([SubjectTests.personal()])
      try await server.tamper("DELETE FROM audit_subjects")
      let report = try await server.verify()
      #expect(!report.valid)
      #expect(report.failedSequence == recorded[0].sequence)
      let other = try await server.other()
      let entry = try await other.client.getEntry(.init(name: .sequence(recorded[0].sequence)))
      #expect(entry.unreadable && !entry.erased)
      await other.end()
    }
  }

  @Test func anErasureWhoseEntryIsInAnArchiveIsKnown() async throws {
    try await AuditServer.run(.sqlite) { server in
      try await server.record([SubjectTests.personal()])
      _ = try await server.client.eraseSubject(.init(subject: "mona@example.org"))
      let (first, archive) = try await ArchiveTamperTests.archived(server)
      try await server.tamper("DELETE FROM audit_entries WHERE sequence < \(first)")
      #expect(try await server.verify().valid)
      // Without the file it cannot be told, and the answer says which one is missing.
      try FileManager.default.removeItem(atPath: "\(server.folder)/audit-archives/\(archive.name)")
      let report = try await server.verify()
      #expect(report.valid && report.unreadArchives == [archive.name])
    }
  }

  @Test func oneVerificationRunsAtATime() async throws {
    try await AuditServer.run(.sqlite) { server in
      server.service.isVerifying.withLock { $0 = true }
      #expect(await code { _ = try await server.verify() } == .resourceExhausted)
      server.service.isVerifying.withLock { $0 = false }
      // The second one finds that the first has ended.
      for _ in 0..<2 {
        let report = try await server.verify()
        #expect(report.valid)
      }
    }
  }
}
