import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonStore
import Testing

@testable import KeelsonConfiguration

@Suite struct WatchTests {
  private typealias API = KeelsonConfigurationV1

  /// The first messages of a watch.
  private func take(
    _ count: Int, _ server: ConfigurationServer, _ request: API.WatchSettingsRequest
  ) async throws -> [API.WatchSettingsResponse] {
    var messages: [API.WatchSettingsResponse] = []
    for try await message in server.client.watchSettings(request) {
      messages.append(message)
      if messages.count == count { break }
    }
    return messages
  }

  private func changed(_ message: API.WatchSettingsResponse?) -> [String]? {
    guard case .change(let change)? = message?.event else { return nil }
    return change.settings.map { "\($0.key)=\($0.value?.text ?? "nil")" }
      + change.removedKeys.map { "-\($0)" }
  }

  private func snapshot(_ message: API.WatchSettingsResponse?) -> [String]? {
    guard case .snapshot(let snapshot)? = message?.event else { return nil }
    return snapshot.settings.map { "\($0.key)=\($0.value?.text ?? "nil")" }
  }

  @Test func aResumedWatchMissesNothing() async throws {
    let layers = [FakeSources.file(["F": 1])]
    try await ConfigurationServer.run(layers: layers) { server in
      try await server.set("A", .integerValue(1))
      let first = try await take(1, server, .init(application: "shop"))
      #expect(snapshot(first[0]) == ["A=1", "F=1"])
      let revision = first[0].revision
      let layers = first[0].layers
      try await server.set("A", .integerValue(2))
      try await server.set("F", .integerValue(3))
      _ = try await server.client.setSetting(
        .init(application: "other", key: "A", value: .init(kind: .integerValue(9))))
      _ = try await server.client.deleteSetting(.init(application: "shop", key: "F"))
      _ = try await server.client.deleteSetting(.init(application: "shop", key: "A"))
      let resumed = try await take(
        4, server,
        .init(application: "shop", resumeRevision: revision, resumeLayers: layers))
      #expect(resumed.map(changed) == [["A=2"], ["F=3"], ["F=1"], ["-A"]])
      #expect(resumed.map(\.revision) == resumed.map(\.revision).sorted())
      let current = try await take(
        1, server,
        .init(
          application: "shop", resumeRevision: resumed[3].revision, resumeLayers: layers))
      guard case .heartbeat? = current[0].event else {
        Issue.record("no heartbeat")
        return
      }
    }
  }

  @Test func otherLowerLayersMeanASnapshot() async throws {
    let layers = [FakeSources.file(["F": 1])]
    try await ConfigurationServer.run(layers: layers) { server in
      let first = try await take(1, server, .init(application: "shop"))
      server.sources.set([FakeSources.file(["F": 2])])
      _ = try await server.client.reloadSettings(.init(application: "shop"))
      let resumed = try await take(
        1, server,
        .init(
          application: "shop", resumeRevision: first[0].revision, resumeLayers: first[0].layers))
      #expect(snapshot(resumed[0]) == ["F=2"])
      #expect(resumed[0].layers != first[0].layers)
    }
  }

  @Test func aRevisionThatIsGoneMeansASnapshot() async throws {
    try await ConfigurationServer.run { server in
      let first = try await server.set("A", .integerValue(1)).revision
      for index in Int64(2)..<9 { try await server.set("A", .integerValue(index)) }
      try await server.database.feed.compact(upTo: first + 3)
      let old = try await take(1, server, .init(application: "shop", resumeRevision: first))
      #expect(snapshot(old[0]) == ["A=8"])
      let future = try await take(1, server, .init(application: "shop", resumeRevision: 999))
      #expect(snapshot(future[0]) == ["A=8"])
    }
  }

  @Test func aSchemaIsAChangeOfWhatItTouches() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("A", .integerValue(1))
      try await server.set("B", .integerValue(1))
      var messages: [[String]?] = []
      for try await message in server.client.watchSettings(.init(application: "shop")) {
        messages.append(snapshot(message) ?? changed(message))
        if messages.count == 1 {
          let schema = API.Schema(
            application: "shop",
            rules: [
              .init(key: "B", type: .integer, sensitive: true),
              .init(key: "C", type: .string, defaultValue: .init(kind: .stringValue("c"))),
            ])
          _ = try await server.client.defineSchema(.init(schema: schema))
        } else {
          break
        }
      }
      #expect(messages == [["A=1", "B=1"], ["B=nil", "C=c"]])
    }
  }

  @Test func whoIsEntitledSeesSecretsAndOthersThatTheyChanged() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("P", .stringValue("one"), sensitive: true)
      for (reveal, first, second) in [(true, "P=one", "P=two"), (false, "P=nil", "P=nil")] {
        try await server.set("P", .stringValue("one"), sensitive: true)
        var messages: [[String]?] = []
        for try await message in server.client.watchSettings(
          .init(application: "shop", reveal: reveal))
        {
          messages.append(snapshot(message) ?? changed(message))
          if messages.count == 2 { break }
          try await server.set("P", .stringValue("two"), sensitive: true)
        }
        #expect(messages == [[first], [second]])
      }
    }
  }

  @Test func aRotationIsNoChange() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("P", .stringValue("one"), sensitive: true)
      var messages: [[String]?] = []
      for try await message in server.client.watchSettings(.init(application: "shop", reveal: true))
      {
        messages.append(snapshot(message) ?? changed(message))
        if messages.count == 2 { break }
        for try await _ in server.client.rotateKey(.init(application: "shop")) {}
        try await server.set("A", .integerValue(1))
      }
      #expect(messages == [["P=one"], ["A=1"]])
    }
  }
}
