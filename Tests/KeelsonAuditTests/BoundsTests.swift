import Foundation
import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization
import Testing

@testable import KeelsonAudit
@testable import KeelsonAuditTrail

/// Entries differ in size by a factor of hundreds, so what is held is bounded in bytes; and what may
/// run only once at a time.
@Suite(.serialized, .timeLimit(.minutes(5))) struct BoundsTests {
  private static func entry(_ bytes: Int) -> AuditEntry {
    AuditEntry(
      id: "", time: .now, actor: "", action: "", entityType: "", entityID: "",
      before: String(repeating: "x", count: bytes), category: "", outcome: .success)
  }

  @Test func fewLargeEntriesAreReadAtOnceAndManySmallOnes() {
    var pace = ReadPace(most: 500, bytes: 1 << 20)
    #expect(pace.count == 32)
    pace.took((0..<32).map { _ in Self.entry(0) })
    #expect(pace.count == 128)
    for _ in 0..<3 { pace.took([Self.entry(0)]) }
    #expect(pace.count == 500)
    pace.took([Self.entry(100 << 10)])
    #expect(pace.count == 10)
    pace.took([Self.entry(4 << 20)])
    #expect(pace.count == 1)
    pace.took([])
    #expect(pace.count == 1)
    #expect(ReadPace(most: 5, bytes: 1 << 20).count == 5)
  }

  @Test func tooManyBytesThatWaitAreRefused() async throws {
    var limits = AuditLimits()
    limits.waitingBytes = 100 << 10
    try await AuditServer.run(.sqlite, limits: limits) { server in
      var large = AuditServer.draft("large")
      large.before = "\"" + String(repeating: "x", count: 60 << 10) + "\""
      let drafts = [large, large]
      #expect(await code { try await server.record(drafts) } == .resourceExhausted)
      #expect(await code { try await server.record([drafts[0]]) } == nil)
    }
  }

  @Test(arguments: Engine.allCases)
  func largeEntriesComeOnSeveralPagesAndInOneFile(_ engine: Engine) async throws {
    try await AuditServer.run(engine) { server in
      let text = "\"" + String(repeating: "x", count: 50 << 10) + "\""
      for _ in 0..<3 {
        try await server.record(
          (0..<20).map { number in
            var draft = AuditServer.draft("\(number)")
            draft.before = text
            return draft
          })
      }
      let page = try await server.client.listEntries(.init(pageSize: 1_000))
      #expect((10..<25).contains(page.entries.count))
      #expect(!page.nextPageToken.isEmpty)
      #expect(try await server.list(.init(entityType: "thing")).count == 60)
      let file = try await server.export()
      #expect(try AuditFileTestsSupport.verify(file).failure == nil)
      #expect(file.count > 60 * 50 << 10)
      var tailed = 0
      for try await response in server.client.tailEntries(
        .init(filter: .init(entityType: "thing"), afterSequence: 0))
      {
        if case .entry? = response.event { tailed += 1 }
        if tailed == 60 { break }
      }
    }
  }

  @Test func archivingRunsOnceAtATime() async throws {
    try await AuditServer.run(.sqlite) { server in
      server.service.isArchiving.withLock { $0 = true }
      #expect(
        await code { _ = try await server.client.archiveEntries(.init()) } == .resourceExhausted)
      server.service.isArchiving.withLock { $0 = false }
      for _ in 0..<2 { _ = try await server.client.archiveEntries(.init()) }
    }
  }

  @Test func whatArchivingLeftHalfWrittenIsSweptAway() async throws {
    try await AuditServer.run(.sqlite) { server in
      let folder = server.service.configuration.archiveFolder
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let old = Date(timeIntervalSinceNow: -7_200)
      let name = "audit-000000000001-000000000009-0123abcd.ndjson.gz"
      let files = [
        ("\(name).new", old), ("other.new", old), ("audit-x.ndjson.gz.new", Date()), (name, old),
      ]
      for (name, date) in files {
        let path = "\(folder)/\(name)"
        #expect(FileManager.default.createFile(atPath: path, contents: Data()))
        try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: path)
      }
      await server.service.sweepArchives()
      // A whole file may be all that is left of its entries.
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
          == [name, "audit-x.ndjson.gz.new", "other.new"])
    }
  }
}
