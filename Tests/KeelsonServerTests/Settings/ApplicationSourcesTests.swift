import Foundation
import KeelsonConfiguration
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonCrypto
import KeelsonSecrets
import Synchronization
import Testing

@testable import KeelsonServer

@Suite(.timeLimit(.minutes(5))) struct ApplicationSourcesTests {
  private let folder: SettingsFolder
  private let shop = ConfigurationScope(application: "shop", environment: "production")

  init() throws { folder = try SettingsFolder() }

  /// The sources as Keelson's own settings name them.
  private func sources(_ members: String) async throws -> ApplicationSources {
    try folder.write(
      "appsettings.json",
      #"{"Environment":"production","Applications":{"shop":{\#(members)}}}"#)
    let loaded = try await folder.load()
    #expect(loaded.problems == [])
    return ApplicationSources(
      loaded.settings.applications, environment: "production",
      variables: ["SHOP__Database__Url": "v", "Shop__A": "1", "OTHER": "x"],
      stores: loaded.stores, logger: .silent)
  }

  @Test func everyLayerIsRead() async throws {
    try folder.write("shop/appsettings.json", #"{"A":1,"B":{"C":2}}"#)
    try folder.write("shop/appsettings.Production.json", #"{"A":3}"#)
    try folder.write("secrets-production/Database__Password", "marked")
    let sources = try await sources(
      """
      "Folder":"\(folder.path)/shop","Environments":["production","staging"],
      "SecretFolder":"\(folder.path)/secrets-{environment}","VariablePrefix":"SHOP__"
      """)
    #expect(sources.scopes.map(\.description) == ["shop/production", "shop/staging"])
    let layers = try await sources.load(shop)
    #expect(layers.count == 4)
    let values = try LayerSource.values(of: layers, schema: .open)
    let merged = EffectiveConfiguration.merging(values, schema: .open).configuration
    #expect(merged.settings.mapValues { $0.value.text }["A"] == "1")
    #expect(merged.settings["A"]?.layer == .environmentVariables)
    #expect(merged.settings["B:C"]?.layer == .file)
    #expect(merged.settings["Database:Password"]?.value == .string("marked"))
    #expect(merged.settings["Database:Password"]?.isSensitive == true)
    #expect(merged.settings["Database:Url"]?.value == .string("v"))
    // Another environment has neither this server's variables nor that folder of secrets.
    let staging = ConfigurationScope(application: "shop", environment: "staging")
    let error = await #expect(throws: SecretStoreError.self) { _ = try await sources.load(staging) }
    #expect(error?.message.contains("secrets-staging is not there") == true)
    let other = ConfigurationScope(application: "other", environment: "production")
    #expect(try await sources.load(other) == [])
  }

  @Test func aChangeIsToldOnceItStays() async throws {
    try folder.write("shop/appsettings.json", #"{"A":1}"#)
    try folder.write("secrets/S", "1")
    let sources = try await sources(
      #""Folder":"\#(folder.path)/shop","SecretFolder":"\#(folder.path)/secrets""#)
    #expect(sources.changed() == [])
    for (name, text) in [
      ("shop/appsettings.json", #"{"A":2}"#), ("shop/appsettings.production.json", "{}"),
      ("secrets/S", "2"), ("secrets/T", "3"),
    ] {
      try folder.write(name, text)
      #expect(sources.changed() == [])
      #expect(sources.changed() == [shop])
      #expect(sources.changed() == [])
    }
    let values = try LayerSource.values(of: try await sources.load(shop), schema: .open)
    #expect(values.last?.values.count == 2)
  }

  @Test func theStreamTellsOfAChange() async throws {
    try folder.write("shop/appsettings.json", #"{"A":1}"#)
    let sources = try await sources(#""Folder":"\#(folder.path)/shop""#)
    let changes = sources.changes()
    try folder.write("shop/appsettings.json", #"{"A":2}"#)
    #expect(await changes.first { _ in true } == shop)
  }

  @Test func aSignalHasEverythingReadAtOnce() async throws {
    try folder.write("shop/appsettings.json", #"{"A":1}"#)
    let sources = try await sources(#""Folder":"\#(folder.path)/shop""#)
    sources.readAtOnce()
    var changes = sources.changes().makeAsyncIterator()
    // Though nothing seems to have changed: a store that is read now and then may have.
    sources.readAtOnce()
    #expect(await changes.next() == shop)
    try folder.write("shop/appsettings.json", #"{"A":2}"#)
    sources.readAtOnce()
    #expect(await changes.next() == shop)
    #expect(sources.changed() == [], "it was read")
  }

  @Test func theFilesOfAFolderNameItsEnvironments() async throws {
    try folder.write("shop/appsettings.Staging.json", "{}")
    try folder.write("shop/appsettings.Production.json", "{}")
    let sources = try await sources(#""Folder":"\#(folder.path)/shop""#)
    #expect(sources.scopes.map(\.description) == ["shop/production", "shop/staging"])
  }

  @Test func aSectionOfTheServersOwnStoresMayBeAnApplications() async throws {
    try folder.write("own/Shop__Password", "1")
    try folder.write("own/Other__Password", "2")
    try folder.write(
      "appsettings.json",
      """
      {"Secrets":{"Files":{"Folder":"\(folder.path)/own"}},"Environment":"production",
       "Applications":{"shop":{"SecretSection":"shop","Environments":["production","qa"]}}}
      """)
    let loaded = try await folder.load()
    let sources = ApplicationSources(
      loaded.settings.applications, environment: "production", variables: [:],
      stores: loaded.stores, logger: .silent)
    #expect(try await sources.load(shop) == [.secrets(["Password": "1"], source: "files")])
    #expect(try await sources.load(.init(application: "shop", environment: "qa")) == [])
    #expect(sources.changed() == [])
    try folder.write("own/Shop__Password", "3")
    _ = try await loaded.stores.stores.first?.source.reload()
    #expect(sources.changed() == [shop])
    #expect(sources.changed() == [])
  }

  @Test func whatCannotBeReadIsNamed() async throws {
    let sources = try await sources(#""Folder":"\#(folder.path)/shop""#)
    let missing = await #expect(throws: LayerError.self) { _ = try await sources.load(shop) }
    #expect(missing?.message.contains("Applications:shop:Folder names is not there") == true)
    try folder.write("shop/appsettings.json", "{\n\"A\" 1}")
    let broken = await #expect(throws: LayerError.self) { _ = try await sources.load(shop) }
    #expect(broken?.message.contains("line 2") == true)
    #expect(broken?.message.contains(folder.path) == false, "peers may read it")
    let loaded = try await folder.load()
    let problems = try await loaded.allProblems(variables: [:], logger: .silent)
    #expect(problems.map(\.key) == ["Applications:shop"])
  }

  @Test func aStoreThatFailsLaterKeepsItsValues() async throws {
    try folder.write("secrets/S", "1")
    let sources = try await sources(#""SecretFolder":"\#(folder.path)/secrets""#)
    let before = try await sources.load(shop)
    try FileManager.default.removeItem(atPath: "\(folder.path)/secrets")
    #expect(try await sources.load(shop) == before)
    let check = try #require(sources.healthChecks.first)
    #expect(check.name == "secrets-shop-production-files")
    #expect(try await check.check().level == .degraded)
  }

  @Test func settingsOfApplicationsThatCannotBeMeantAreTold() async throws {
    try folder.write(
      "appsettings.json",
      """
      {"Applications":{"a":{"VariablePrefix":"A"},"b":{"VaultPath":"b"},"c":{"AzureVault":"x"},
       "d":{"Fodler":"x"}}}
      """)
    let found = Set(try await folder.load().problems.map { "\($0.key) \($0.rule)" })
    #expect(
      found == [
        "Applications:a:VariablePrefix prefix", "Applications:b:VaultPath required",
        "Applications:c:AzureVault required", "Applications:d:Fodler known-key",
      ])
  }

  // MARK: Keys

  private func keys(_ members: String, data: Bool = true) async throws -> (any KeyEncryptionKeys)? {
    try folder.write("appsettings.json", #"{"Encryption":{\#(members)}}"#)
    let loaded = try await folder.load()
    #expect(loaded.problems == [])
    return try await loaded.settings.encryption.makeKeys(
      dataFolder: data ? folder.path : nil, vault: loaded.stores.vault, logger: .silent)
  }

  @Test func keysComeFromWhereTheSettingsSay() async throws {
    let hex = String(repeating: "0a", count: 32)
    try folder.write("k/1.key", hex)
    #expect(try await keys(#""KeyPath":"\#(folder.path)/k""#)?.currentID == "1")
    #expect(try await keys(#""Keys":{"a":"\#(hex)","b":"\#(hex)"}"#)?.currentID == "b")
    #expect(
      try await keys(#""Keys":{"a":"\#(hex)","b":"\#(hex)"},"CurrentKey":"a""#)?.currentID == "a")
    #expect(try await keys("", data: false) == nil)
    let first = try #require(try await keys(""))
    let again = try #require(try await keys(""))
    #expect(first.currentID == again.currentID)
    #expect(try await again.unwrap(try await first.wrap([1])) == [1])
    #expect(FileManager.default.fileExists(atPath: "\(folder.path)/keys/\(first.currentID).key"))
  }
}
