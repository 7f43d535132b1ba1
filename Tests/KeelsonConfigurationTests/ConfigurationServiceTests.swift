import KeelsonAPI
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonConfiguration

@Suite struct ConfigurationServiceTests {
  private typealias API = KeelsonConfigurationV1

  @Test func aChangeIsStateHistoryAuditAndEventTogether() async throws {
    try await ConfigurationServer.run { server in
      let first = try await server.set("Database:Url", .stringValue("a"))
      let second = try await server.set("Database:Url", .stringValue("b"))
      #expect(second.revision == first.revision + 1)
      #expect(second.etag != first.etag)
      let (audit, events) = try await server.database.read { transaction in
        (
          try await transaction.query(
            """
            SELECT action, entity_id, before_state, after_state FROM audit_entries
            ORDER BY sequence
            """),
          try await transaction.query("SELECT revision, type FROM events ORDER BY revision")
        )
      }
      #expect(try audit.map { try $0.get("action") } == ["setting.set", "setting.set"])
      #expect(try audit.last?.get("entity_id") == "shop/test/Database:Url")
      let before: String? = try audit.last?.get("before_state")
      #expect(before?.contains("\"a\"") == true)
      #expect(
        try events.map { try $0.get("type") }
          == Array(repeating: "keelson.configuration.ConfigurationUpdated", count: 2))
      let history = try await server.client.listSettingHistory(
        .init(application: "shop", key: "Database:Url"))
      #expect(history.entries.map(\.revision) == [second.revision, first.revision])
      #expect(history.entries.map { $0.after?.text } == ["b", "a"])
      #expect(history.entries.map { $0.before?.text } == ["a", nil])
    }
  }

  @Test func settingWhatIsSetChangesNothing() async throws {
    try await ConfigurationServer.run { server in
      let first = try await server.set("A", .integerValue(1))
      #expect(try await server.set("A", .integerValue(1)) == first)
      let history = try await server.client.listSettingHistory(.init(application: "shop"))
      #expect(history.entries.count == 1)
    }
  }

  @Test func everyKindOfValueComesBack() async throws {
    try await ConfigurationServer.run { server in
      let values: [API.SettingValue.Kind] = [
        .booleanValue(true), .integerValue(Int64.max), .numberValue(0.5), .stringValue("ä\n"),
        .durationValue(.init(seconds: 90, nanos: 5)),
        .listValue(GoogleProtobuf.ListValue([1, "a", [true]])),
        .objectValue(GoogleProtobuf.Struct(["a": ["b": .null]])),
      ]
      for (index, value) in values.enumerated() { try await server.set("K\(index)", value) }
      for (index, value) in values.enumerated() {
        #expect(try await server.value("K\(index)") == value)
      }
    }
  }

  @Test func aBatchIsAllOrNothing() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("A", .integerValue(1))
      let schema = API.Schema(
        application: "shop",
        rules: [.init(key: "A", type: .integer), .init(key: "B", type: .string)],
        closed: true)
      _ = try await server.client.defineSchema(.init(schema: schema))
      let error = await failure {
        try await server.client.batchSetSettings(
          .init(
            application: "shop",
            changes: [
              .init(key: "A", change: .value(.init(kind: .integerValue(2)))),
              .init(key: "B", change: .value(.init(kind: .integerValue(3)))),
              .init(key: "Bb", change: .value(.init(kind: .stringValue("x")))),
            ]))
      }
      #expect(error?.code == .invalidArgument)
      #expect(error?.fields == ["changes[1].value", "changes[2].value"])
      #expect(error?.message.contains("did you mean 'B'") == true)
      #expect(try await server.all() == ["A=1"])

      let done = try await server.client.batchSetSettings(
        .init(
          application: "shop",
          changes: [
            .init(key: "A", change: .delete(true)),
            .init(key: "B", change: .value(.init(kind: .stringValue("x")))),
          ]))
      #expect(done.settings.map(\.key) == ["B"])
      #expect(try await server.all() == ["B=x"])
      let history = try await server.client.listSettingHistory(.init(application: "shop"))
      #expect(history.entries.prefix(2).map(\.revision) == [done.revision, done.revision])
      #expect(history.entries.prefix(2).map(\.action) == ["deleted", "set"])
    }
  }

  @Test func aStaleEtagIsRefusedWithTheCurrentOne() async throws {
    try await ConfigurationServer.run { server in
      let first = try await server.set("A", .integerValue(1), etag: "none")
      let second = try await server.set("A", .integerValue(2), etag: first.etag)
      for etag in [first.etag, "none", "nonsense"] {
        let error = await failure { try await server.set("A", .integerValue(3), etag: etag) }
        #expect(error?.code == .aborted)
        #expect(
          error?.details == [
            .errorInfo(
              reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": second.etag])
          ])
      }
      let error = await failure {
        try await server.client.deleteSetting(
          .init(application: "shop", key: "A", etag: first.etag))
      }
      #expect(error?.code == .aborted)
    }
  }

  @Test func badRequestsSayWhatIsWrong() async throws {
    var limits = ConfigurationLimits()
    limits.valueBytes = 100
    limits.settings = 2
    limits.batch = 2
    try await ConfigurationServer.run(limits: limits) { server in
      let client = server.client
      let value = API.SettingValue(kind: .integerValue(1))
      let cases: [(String, RPCError.Code, () async throws -> Void)] = [
        ("application", .invalidArgument, { _ = try await client.listSettings(.init()) }),
        (
          "environment", .invalidArgument,
          { _ = try await client.listSettings(.init(application: "a", environment: "a b")) }
        ),
        ("key", .invalidArgument, { try await server.set("a b", .integerValue(1)) }),
        (
          "key", .invalidArgument,
          { try await server.set(String(repeating: "k", count: 257), .integerValue(1)) }
        ),
        (
          "value", .invalidArgument,
          { _ = try await client.setSetting(.init(application: "a", key: "K")) }
        ),
        ("value", .invalidArgument, { try await server.set("K", .numberValue(.nan)) }),
        (
          "value", .invalidArgument,
          { try await server.set("K", .stringValue(String(repeating: "x", count: 101))) }
        ),
        (
          "changes", .invalidArgument,
          {
            _ = try await client.batchSetSettings(
              .init(
                application: "a",
                changes: ["A", "B", "C"].map { .init(key: $0, change: .value(value)) }))
          }
        ),
        (
          "changes[1].key", .invalidArgument,
          {
            _ = try await client.batchSetSettings(
              .init(
                application: "a",
                changes: ["A", "A"].map { .init(key: $0, change: .value(value)) }))
          }
        ),
        (
          "changes[0]", .invalidArgument,
          {
            _ = try await client.batchSetSettings(
              .init(application: "a", changes: [.init(key: "A")]))
          }
        ),
        (
          "page_token", .invalidArgument,
          { _ = try await client.listSettings(.init(application: "a", pageToken: "x")) }
        ),
        (
          "resume_revision", .invalidArgument,
          {
            for try await _ in client.watchSettings(.init(application: "a", resumeRevision: -1)) {
            }
          }
        ),
      ]
      for (field, code, body) in cases {
        let error = await failure(body)
        #expect(error?.code == code)
        #expect(error?.fields == [field])
      }
      try await server.set("A", .integerValue(1))
      try await server.set("B", .integerValue(1))
      #expect(
        await failure { try await server.set("C", .integerValue(1)) }?.code == .resourceExhausted)
      #expect(await failure { try await server.value("C") }?.code == .notFound)
      #expect(
        await failure {
          try await client.deleteSetting(.init(application: "shop", key: "C"))
        }?.code == .notFound)
      #expect(
        await failure {
          try await client.rollbackSettings(
            .init(application: "shop", target: .toSnapshot("none")))
        }?.code == .notFound)
      #expect(
        await failure {
          try await client.getSnapshot(.init(application: "shop", name: "none"))
        }?.code == .notFound)
    }
  }

  @Test func listsArePaged() async throws {
    try await ConfigurationServer.run { server in
      for index in 0..<25 {
        try await server.set("Section\(index % 2):Key\(index)", .integerValue(Int64(index)))
      }
      var request = API.ListSettingsRequest(
        application: "shop", pageSize: 4, keyPrefix: "Section1:")
      var keys: [String] = []
      repeat {
        let page = try await server.client.listSettings(request)
        #expect(page.settings.count <= 4)
        keys += page.settings.map(\.key)
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      #expect(keys == keys.sorted())
      #expect(keys.count == 12)
      var history = API.ListSettingHistoryRequest(application: "shop", pageSize: 7)
      var revisions: [Int64] = []
      repeat {
        let page = try await server.client.listSettingHistory(history)
        revisions += page.entries.map(\.revision)
        history.pageToken = page.nextPageToken
      } while !history.pageToken.isEmpty
      #expect(revisions == revisions.sorted(by: >))
      #expect(revisions.count == 25)
    }
  }

  @Test func historyThatIsNotKeptAnyMoreIsOutOfRange() async throws {
    var limits = ConfigurationLimits()
    limits.history = 10
    try await ConfigurationServer.run(limits: limits) { server in
      var revisions: [Int64] = []
      for index in 0..<30 {
        revisions.append(try await server.set("A", .integerValue(Int64(index))).revision)
      }
      let history = try await server.client.listSettingHistory(.init(application: "shop"))
      #expect((10...11).contains(history.entries.count))
      #expect(history.oldestRevision > 0)
      let error = await failure {
        try await server.client.rollbackSettings(
          .init(application: "shop", target: .toRevision(revisions[0])))
      }
      #expect(error?.code == .outOfRange)
      #expect(
        await failure {
          try await server.client.listSettingHistory(
            .init(application: "shop", afterRevision: revisions[0]))
        }?.code == .outOfRange)
      _ = try await server.client.rollbackSettings(
        .init(application: "shop", target: .toRevision(history.oldestRevision)))
      #expect(
        try await server.value("A")
          == .integerValue(Int64(revisions.firstIndex(of: history.oldestRevision) ?? -1)))
    }
  }

  @Test func aRestartFindsEverything() async throws {
    let keys = try ConfigurationServer.keys()
    try await TestDatabase.onEachEngine { made in
      let first = try await ConfigurationServer(on: made, keys: keys)
      let schema = API.Schema(application: "shop", rules: [.init(key: "A", type: .duration)])
      _ = try await first.client.defineSchema(.init(schema: schema))
      try await first.set("A", .stringValue("90s"))
      try await first.set("Secret", .stringValue("hidden"), sensitive: true)
      let revision = try await first.set("B", .integerValue(1)).revision
      try await first.stop()
      let second = try await ConfigurationServer(on: made, keys: keys)
      #expect(try await second.value("A") == .durationValue(.init(seconds: 90)))
      #expect(try await second.value("Secret") == .stringValue("******"))
      #expect(try await second.value("Secret", reveal: true) == .stringValue("hidden"))
      #expect(try await second.set("C", .integerValue(1)).revision > revision)
      #expect(
        try await second.client.getSchema(.init(application: "shop")).rules.map(\.key) == ["A"])
      try await second.stop()
    }
  }
}
