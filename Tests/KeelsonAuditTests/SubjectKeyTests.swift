import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// The keys of subjects: when one is gone, when the key that wraps changes, and what an erasure
/// leaves.
@Suite(.serialized, .timeLimit(.minutes(5))) struct SubjectKeyTests {
  private static let first = [UInt8](repeating: 1, count: 32)
  private static let second = [UInt8](repeating: 2, count: 32)

  @Test(arguments: Engine.allCases)
  func oneKeyThatIsMissingHidesItsEntriesOnly(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let recorded = try await server.record([SubjectTests.personal(), AuditServer.draft("plain")])
      let other = try await server.other(["b": Self.second], currentID: "b")
      let page = try await other.client.listEntries(.init())
      let hidden = try #require(
        page.entries.first { $0.sequence == recorded[0].sequence })
      #expect(hidden.unreadable && !hidden.erased)
      #expect(hidden.before.isEmpty && hidden.subject.isEmpty)
      #expect(hidden.actor.hasPrefix("subject:"))
      let plain = try #require(
        page.entries.first { $0.sequence == recorded[1].sequence })
      #expect(!plain.unreadable && plain.actor == "anna")
      await other.end()
    }
  }

  @Test(arguments: Engine.allCases)
  func keysAreWrappedAnewWhenTheKeyThatWrapsChanges(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let recorded = try await server.record([SubjectTests.personal()])
      let both = try await server.other(["a": Self.first, "b": Self.second], currentID: "b")
      #expect(try await both.service.subjects.rewrap() == 1)
      #expect(try await both.service.subjects.rewrap() == 0)
      await both.end()
      // The old key is needed no more.
      let new = try await server.other(["b": Self.second], currentID: "b")
      let entry = try await new.client.getEntry(.init(name: .sequence(recorded[0].sequence)))
      #expect(entry.subject == "mona@example.org")
      #expect(!entry.unreadable)
      // One that cannot be unwrapped is left as it is.
      try await server.tamper("UPDATE audit_subjects SET wrapping_key_id = 'lost'")
      #expect(try await new.service.subjects.rewrap() == 0)
      await new.end()
    }
  }

  @Test(arguments: Engine.allCases)
  func nothingIsSealedUnderAKeyThatWasDestroyed(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      try await server.record([SubjectTests.personal("1")])
      let subjects = server.service.subjects
      let key = try await subjects.makeKey(of: "mona@example.org")
      let entry = AuditEntry(
        id: UUIDv7.make(), time: .now, actor: "mona@example.org", action: "a.b",
        entityType: "order", entityID: "2", category: "change", outcome: .success)
      let sealed = AuditAppender.Pending(entry: try key.seal(entry), key: key, hasNewID: true)
      let plain = AuditAppender.Pending(entry: entry, hasNewID: true)
      // By another server, of which this one has not heard.
      try await server.database.write { transaction in
        _ = try await AuditRepository.erase("mona@example.org", at: .now, in: transaction)
      }
      let appender = server.service.appender
      #expect(await code { _ = try await appender.append([plain, sealed]) } == .aborted)
      #expect(try await server.list(.init(entityId: "2")).isEmpty)
      // A new attempt has a new key.
      try await server.record([SubjectTests.personal("3")])
      #expect(
        try await server.list(.init(actor: "mona@example.org")).map(\.entityId) == ["3"])
    }
  }

  @Test(arguments: Engine.allCases)
  func aTailFindsWhoGetsAKeyMeanwhile(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      var found: [String] = []
      for try await response in server.client.tailEntries(
        .init(filter: .init(actor: "mona@example.org")))
      {
        guard case .entry(let entry)? = response.event else {
          // The first heartbeat says that it waits.
          try await server.record([AuditServer.draft(), SubjectTests.personal("1")])
          continue
        }
        found.append("\(entry.actor) \(entry.entityId)")
        break
      }
      #expect(found == ["mona@example.org 1"])
    }
  }

  @Test func anErasedKeyIsInNoFile() async throws {
    try await AuditServer.run(.sqlite) { server in
      try await server.record([SubjectTests.personal()])
      let wrapped: [UInt8] = try await server.database.read { transaction in
        try await transaction.query("SELECT wrapped_key FROM audit_subjects")[0].get(0)
      }
      func files() throws -> [Data] {
        try FileManager.default.contentsOfDirectory(atPath: server.folder)
          .filter { $0.hasPrefix("keelson.sqlite") }
          .map { try Data(contentsOf: URL(fileURLWithPath: "\(server.folder)/\($0)")) }
      }
      let before = try files()
      #expect(before.contains { $0.range(of: Data(wrapped)) != nil })
      _ = try await server.client.eraseSubject(.init(subject: "mona@example.org"))
      let after = try files()
      #expect(!after.contains { $0.range(of: Data(wrapped)) != nil })
    }
  }
}

enum SigningKeyFixture {
  static func make() throws -> SigningKey { try SigningKey.make() }
}
