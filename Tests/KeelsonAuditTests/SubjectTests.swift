import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Personal data: readable while its key is there, and by nobody afterwards.
@Suite(.serialized, .timeLimit(.minutes(5))) struct SubjectTests {
  static func personal(_ entity: String = "order-1") -> KeelsonAuditV1.EntryDraft {
    KeelsonAuditV1.EntryDraft(
      actor: "mona@example.org", action: "order.placed", entityType: "order", entityId: entity,
      before: #"{"street": "Secret Lane 1"}"#, after: #"{"street": "Secret Lane 2"}"#,
      peer: "ipv4:192.0.2.77:1", userAgent: "MonasPhone/1", attributes: ["phone": "555-0199"],
      subject: "mona@example.org")
  }

  static var other: KeelsonAuditV1.EntryDraft {
    var draft = personal("other")
    draft.actor = "otto@example.org"
    draft.subject = "otto@example.org"
    return draft
  }

  private static let marks = ["mona", "Secret Lane", "192.0.2.77", "MonasPhone", "555-0199"]

  @Test(arguments: Engine.allCases)
  func personalDataIsStoredEncryptedAndReadAsItWas(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      try await server.record([Self.personal(), AuditServer.draft("other")])
      let stored = try await server.database.read {
        try await AuditEntries.select(after: 0, limit: 100, in: $0)
      }
      for mark in Self.marks {
        #expect(!String(describing: stored).contains(mark), "\(mark) is stored readable")
      }
      let file = String(decoding: try await server.export(), as: UTF8.self)
      for mark in Self.marks { #expect(!file.contains(mark), "\(mark) is exported readable") }

      let found = try await server.list(.init(actor: "mona@example.org"))
      #expect(found.count == 1)
      let entry = try #require(found.first)
      #expect(entry.actor == "mona@example.org")
      #expect(entry.subject == "mona@example.org")
      #expect(entry.before == #"{"street": "Secret Lane 1"}"#)
      #expect(entry.peer == "ipv4:192.0.2.77:1")
      #expect(entry.userAgent == "MonasPhone/1")
      #expect(entry.attributes == ["phone": "555-0199"])
      #expect(entry.changes.map(\.path) == ["/street"])
      let history = try await server.client.listUserHistory(.init(user: "mona@example.org"))
      #expect(history.entries.map(\.sequence) == [entry.sequence])
    }
  }

  @Test(arguments: Engine.allCases)
  func anErasedSubjectCannotBeReadAndTheTrailVerifies(_ engine: Engine) async throws {
    // Reads are recorded as well: whoever looks a person up leaves no trace of the name.
    try await AuditServer.run(engine, auditsReads: true) { server in
      let recorded = try await server.record([Self.personal("1"), Self.personal("2")])
      let archived = try await server.export()
      let filter = KeelsonAuditV1.EntryFilter(
        actor: "mona@example.org", entityId: "mona@example.org")
      _ = try await server.list(filter)
      _ = try await server.client.listUserHistory(.init(user: "mona@example.org"))
      _ = try await server.export(.init(filter: filter))
      for try await _ in server.client.tailEntries(.init(filter: filter)) { break }
      let reads = try await server.list(.init(category: "access"))
      #expect(
        Set(reads.map(\.action)).isSuperset(of: [
          "audit.list_entries", "audit.list_user_history", "audit.export_entries",
          "audit.tail_entries",
        ]))
      let answer = try await server.client.eraseSubject(
        .init(subject: "mona@example.org", reason: "asked for"))
      #expect(answer.entries == 2)
      let entry = try await server.client.getEntry(.init(name: .sequence(recorded[0].sequence)))
      #expect(entry.erased)
      #expect(entry.before.isEmpty && entry.after.isEmpty && entry.attributes.isEmpty)
      #expect(entry.subject.isEmpty)
      #expect(entry.actor.hasPrefix("subject:"))
      for listed in try await server.list() {
        for mark in Self.marks { #expect(!"\(listed)".contains(mark), "\(mark) is still read") }
      }
      #expect(try await server.list(.init(actor: "mona@example.org")).isEmpty)
      #expect(try await server.verify().valid)
      // An earlier export still verifies too.
      #expect(try AuditFileTestsSupport.verify(archived).failure == nil)
      let erased = try await server.list(.init(action: "audit.subject_erased"))
      #expect(erased.count == 1)
      #expect(erased[0].attributes["reason"] == "asked for")
      #expect(
        await code {
          _ = try await server.client.eraseSubject(.init(subject: "mona@example.org"))
        } == .notFound)
      // Whoever comes back is somebody new.
      try await server.record([Self.personal("3")])
      let again = try await server.list(.init(actor: "mona@example.org"))
      #expect(again.map(\.entityId) == ["3"])
    }
  }

  @Test func aRetriedEntryWithASubjectIsRecordedOnce() async throws {
    try await AuditServer.run(.sqlite) { server in
      var draft = Self.personal()
      draft.entryId = UUIDv7.make()
      let first = try await server.record([draft])
      let again = try await server.record([draft])
      #expect(again[0].duplicate)
      #expect(again[0].sequence == first[0].sequence)
      draft.after = "{}"
      #expect(await code { try await server.record([draft]) } == .alreadyExists)
    }
  }

  @Test func aSealedEntryThatWasTamperedWithIsFound() async throws {
    try await AuditServer.run(.sqlite) { server in
      let recorded = try await server.record([Self.personal("1"), Self.personal("2")])
      try await server.tamper(
        """
        UPDATE audit_entries SET sealed = (SELECT sealed FROM audit_entries
          WHERE sequence = \(recorded[1].sequence)) WHERE sequence = \(recorded[0].sequence)
        """)
      let report = try await server.verify()
      #expect(report.failedSequence == recorded[0].sequence)
      // What belongs to another entry is not shown as this one's.
      let entry = try await server.client.getEntry(.init(name: .sequence(recorded[0].sequence)))
      #expect(entry.after.isEmpty)
    }
  }

  @Test func withoutKeysASubjectIsRefused() async throws {
    try await AuditServer.run(.sqlite, hasKeys: false) { server in
      #expect(await code { try await server.record([Self.personal()]) } == .failedPrecondition)
      #expect(await code { try await server.record([AuditServer.draft()]) } == nil)
    }
  }

  @Test func anUnknownSubjectIsNotFound() async throws {
    try await AuditServer.run(.sqlite) { server in
      #expect(
        await code { _ = try await server.client.eraseSubject(.init(subject: "nobody")) }
          == .notFound)
      #expect(
        await code { _ = try await server.client.eraseSubject(.init()) } == .invalidArgument)
    }
  }
}

/// Checks the bytes of an export.
enum AuditFileTestsSupport {
  static func verify(
    _ bytes: [UInt8], isFiltered: Bool = false
  ) throws -> AuditFileVerifier.Report {
    var verifier = AuditFileVerifier(isFiltered: isFiltered)
    try verifier.read(bytes)
    return try verifier.finish()
  }
}
