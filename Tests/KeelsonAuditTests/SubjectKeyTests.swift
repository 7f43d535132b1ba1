import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import KeelsonTestKit
import Synchronization
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
      let other = try await server.other()
      _ = try await other.client.eraseSubject(.init(subject: "mona@example.org"))
      await other.end()
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

  /// Keys in a vault that lets the first one that is unwrapped wait.
  private final class SlowKeys: KeyEncryptionKeys {
    let keys: LocalKeys
    let isAsked = Gate()
    let answers = Gate()
    private let calls = Mutex(0)

    init(_ keys: LocalKeys) { self.keys = keys }

    var currentID: String { keys.currentID }
    func wrap(_ key: [UInt8]) async throws -> WrappedKey { try await keys.wrap(key) }
    func unwrap(_ wrapped: WrappedKey) async throws -> [UInt8] {
      let isFirst = calls.withLock { calls in
        calls += 1
        return calls == 1
      }
      if isFirst {
        isAsked.open()
        await answers.wait()
      }
      return try await keys.unwrap(wrapped)
    }
  }

  @Test func aKeyThatIsErasedWhileItIsReadIsNotKept() async throws {
    try await AuditServer.run(.sqlite) { server in
      let other = SubjectTests.other
      try await server.record([SubjectTests.personal(), other])
      let slow = SlowKeys(try LocalKeys(["a": Self.first], currentID: "a"))
      var limits = AuditLimits()
      limits.cachedSubjects = 1
      let subjects = SubjectKeys(
        database: server.database, keyEncryptionKeys: slow, limits: limits, logger: .silent)
      async let early = subjects.key(of: "mona@example.org")
      await slow.isAsked.wait()
      let key = try await server.service.subjects.key(of: "mona@example.org")
      let id = try #require(key?.id)
      _ = try await server.client.eraseSubject(.init(subject: "mona@example.org"))
      subjects.forget(id)
      // There is room for one: what was known of the erased key goes.
      _ = try await subjects.key(of: other.subject)
      slow.answers.open()
      _ = try await early
      guard case .erased? = try await subjects.known([id])[id] else {
        Issue.record("an erased key is still known")
        return
      }
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
