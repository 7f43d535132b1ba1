import Foundation
import KeelsonCore
import Testing

@testable import KeelsonClient

/// The adapter of docs/client.md.
@Suite("A provider for swift-configuration", .timeLimit(.minutes(1)))
struct ConfigProviderTests {
  private let values: [String: SettingValue] = [
    "Server:Port": .integer(80), "Share": .number(0.5), "Name": .string("a"),
    "Debug": .boolean(true), "Key": .string("AQI="), "Names": .list(["a", "b"]),
    "Ports": .list([1, 2]), "Shares": .list([0.5, 1]), "Flags": .list([true, false]),
    "Keys": .list(["AQI=", "Aw=="]), "Wait": .duration(.milliseconds(1_500)),
  ]

  @Test func everyTypeIsLookedUp() async throws {
    try await FakeSettingsServer(values).run { client in
      let settings = client.configuration(application: "shop")
      try await settings.ready()
      let provider: any ConfigProvider = KeelsonConfigProvider(provider: settings.provider)
      let snapshot = provider.snapshot()
      #expect(provider.providerName == "Keelson[shop]")
      #expect(snapshot.providerName == "Keelson[shop]")
      let expected: [([String], ConfigType, ConfigContent)] = [
        (["server", "port"], .int, .int(80)), (["share"], .double, .double(0.5)),
        (["wait"], .double, .double(1.5)), (["name"], .string, .string("a")),
        (["debug"], .bool, .bool(true)), (["key"], .bytes, .bytes([1, 2])),
        (["names"], .stringArray, .stringArray(["a", "b"])),
        (["ports"], .intArray, .intArray([1, 2])),
        (["shares"], .doubleArray, .doubleArray([0.5, 1])),
        (["flags"], .boolArray, .boolArray([true, false])),
        (["keys"], .byteChunkArray, .byteChunkArray([[1, 2], [3]])),
      ]
      for (key, type, content) in expected {
        let key = AbsoluteConfigKey(components: key)
        #expect(try provider.value(forKey: key, type: type).value?.content == content)
        #expect(try snapshot.value(forKey: key, type: type).value?.content == content)
        #expect(try await provider.fetchValue(forKey: key, type: type).value?.content == content)
      }
      let port = AbsoluteConfigKey(components: ["server", "port"])
      #expect(try provider.value(forKey: port, type: .int).encodedKey == "Server:Port")
      #expect(throws: RPCError.self) { try provider.value(forKey: port, type: .boolArray) }
      let none = try provider.value(forKey: .init(components: ["none"]), type: .int)
      #expect(none == LookupResult(encodedKey: "none", value: nil))
    }
  }

  @Test func fetchingAsksTheServer() async throws {
    let server = FakeSettingsServer(values)
    try await server.run { client in
      let settings = client.configuration(application: "shop")
      try await settings.ready()
      let provider = KeelsonConfigProvider(provider: settings.provider)
      server.set("Server:Port", .integer(81))
      server.set("New:Setting", .integer(1))
      server.set("Name", nil)
      let port = AbsoluteConfigKey(components: ["server", "port"])
      #expect(try provider.value(forKey: port, type: .int).value?.content == .int(80))
      #expect(try await provider.fetchValue(forKey: port, type: .int).value?.content == .int(81))
      #expect(server.lookups == 1)
      let new = try await provider.fetchValue(
        forKey: .init(components: ["new", "setting"]), type: .int)
      #expect(new == .init(encodedKey: "New:Setting", value: .init(.int(1), isSecret: false)))
      let gone = try await provider.fetchValue(forKey: .init(components: ["name"]), type: .string)
      #expect(gone.value == nil)
    }
  }

  @Test func watchingBeginsWithWhatIsThere() async throws {
    try await FakeSettingsServer(values).run { client in
      let settings = client.configuration(application: "shop")
      try await settings.ready()
      let provider: any ConfigProvider = KeelsonConfigProvider(provider: settings.provider)
      let key = AbsoluteConfigKey(components: ["share"])
      let value = try await provider.watchValue(forKey: key, type: .double) { updates in
        var updates = updates.makeAsyncIterator()
        return try await updates.next(isolation: nil)?.get().value?.content
      }
      #expect(value == .double(0.5))
      let name = try await provider.watchSnapshot { updates in
        var updates = updates.makeAsyncIterator()
        return try await updates.next(isolation: nil)?.value(forKey: key, type: .string).encodedKey
      }
      #expect(name == "Share")
    }
  }

  @Test func theDocumentationHasTheAdapter() throws {
    let here = URL(filePath: #filePath).deletingLastPathComponent()
    let adapter = try String(
      contentsOf: here.appending(path: "KeelsonConfigProvider.swift"), encoding: .utf8)
    let root = here.deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "docs/client.md"), encoding: .utf8)
    #expect(page.contains("```swift\nimport Configuration\n\(adapter)```\n"))
  }
}
