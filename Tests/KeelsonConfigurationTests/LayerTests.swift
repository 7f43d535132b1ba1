import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonStore
import Testing

@testable import KeelsonConfiguration

@Suite struct LayerTests {
  private typealias API = KeelsonConfigurationV1

  @Test func theHighestLayerWinsAndIsNamed() async throws {
    let layers: [LayerSource] = [
      FakeSources.file(["A": 1, "B": 1, "C": 1, "D": 1]),
      .document(.environmentFile, ["B": 2, "C": 2, "D": 2], source: "appsettings.test.json"),
      .secrets(["C": "3"], source: "files"),
      .variables(["SHOP__D": "4"], prefix: "SHOP__"),
    ]
    try await ConfigurationServer.run(layers: layers) { server in
      try await server.set("E", .integerValue(5))
      let settings = try await server.client.listSettings(.init(application: "shop")).settings
      #expect(
        settings.map { "\($0.key) \($0.value?.text ?? "") \($0.layer)" } == [
          "A 1 file", "B 2 environmentFile", "C ****** secretStore", "D 4 environmentVariables",
          "E 5 api",
        ])
      try await server.set("B", .integerValue(9))
      let setting = try await server.client.getSetting(.init(application: "shop", key: "B"))
      #expect(setting.layers.map(\.layer) == [.file, .environmentFile, .api])
      #expect(setting.layers.map { $0.value?.text } == ["1", "2", "9"])
      #expect(setting.layers.map(\.source) == ["appsettings.json", "appsettings.test.json", ""])
      let events = try await server.database.read {
        try await $0.query("SELECT type FROM events ORDER BY revision LIMIT 2")
      }
      #expect(
        try events.map { try $0.get(0) } == [
          "keelson.configuration.ConfigurationValidated",
          "keelson.configuration.ConfigurationLoaded",
        ])
    }
  }

  @Test func aReloadThatBreaksTheSchemaIsRefusedAndTold() async throws {
    let layers = [FakeSources.file(["Port": 80])]
    try await ConfigurationServer.run(layers: layers) { server in
      let schema = API.Schema(
        application: "shop", rules: [.init(key: "Port", type: .integer)], closed: true)
      _ = try await server.client.defineSchema(.init(schema: schema))
      server.sources.set([FakeSources.file(["Port": "many", "Prot": 1])])
      let error = await failure {
        try await server.client.reloadSettings(.init(application: "shop"))
      }
      #expect(error?.code == .failedPrecondition)
      #expect(error?.fields == ["settings[\"Port\"]", "settings[\"Prot\"]"])
      #expect(try await server.all() == ["Port=80"])
      let applications = try await server.client.listApplications(.init()).applications
      #expect(applications.first?.environments.first?.violations.map(\.key) == ["Port", "Prot"])
      let types = try await server.database.read {
        try await $0.query("SELECT type FROM events ORDER BY revision DESC LIMIT 2")
      }
      #expect(
        try types.map { try $0.get(0) } == [
          "keelson.configuration.ConfigurationReloadRefused",
          "keelson.configuration.ConfigurationValidated",
        ])

      server.sources.fail(RPCError(.failedPrecondition, "appsettings.json, line 3: ',' is missing"))
      let unreadable = await failure {
        try await server.client.reloadSettings(.init(application: "shop"))
      }
      #expect(unreadable?.message.contains("line 3") == true)
      #expect(try await server.all() == ["Port=80"])

      server.sources.fail(nil)
      server.sources.set([FakeSources.file(["Port": 81])])
      let reloaded = try await server.client.reloadSettings(.init(application: "shop"))
      #expect(reloaded.changedKeys == ["Port"])
      #expect(try await server.all() == ["Port=81"])
      let again = try await server.client.reloadSettings(.init(application: "shop"))
      #expect(again.changedKeys == [])
      #expect(again.revision == reloaded.revision)
    }
  }

  @Test func deletingShowsTheLayerBelow() async throws {
    let layers = [FakeSources.file(["A": 1])]
    try await ConfigurationServer.run(layers: layers) { server in
      try await server.set("A", .integerValue(2))
      let deleted = try await server.client.deleteSetting(.init(application: "shop", key: "A"))
      #expect(deleted.setting?.value?.text == "1")
      #expect(deleted.setting?.etag == "none")
    }
  }
}
