import Foundation
import KeelsonAPI
import KeelsonClient
import KeelsonCore
import Testing

/// Settings in the client library against the real server. KEELSON_BINARY names the binary.
@Suite("Settings against the real server", .timeLimit(.minutes(2)))
struct ApplicationSettingsTests {
  private func withServer(_ body: (KeelsonProcess, KeelsonClient, URL) async throws -> Void)
    async throws
  {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "keelson-settings-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let server = try await KeelsonProcess.start(data: folder)
    let client = try KeelsonClient(.init(server: server.address))
    do {
      try await body(server, client, folder)
    } catch {
      await client.shutdown()
      throw error
    }
    await client.shutdown()
  }

  private func set(_ key: String, _ value: SettingValue, _ client: KeelsonClient) async throws {
    _ = try await client.admin.configuration.setSetting(
      .init(application: "shop", key: key, value: value.message))
  }

  @Test func changesArriveAsTheyHappenAndReadsAreLocal() async throws {
    try await withServer { _, client, _ in
      let settings = client.configuration(application: "shop")
      #expect(settings.integer("Limit", default: 3) == 3)
      try await settings.waitUntilReady(timeout: .seconds(20))
      #expect(settings.status.state == .current)
      let limits = settings.changes(of: "Limit")
      let sections = settings.changes(prefix: "Database:")
      try await set("Other", .boolean(true), client)
      try await set("Limit", .integer(7), client)
      try await set("Database:Url", .string("a"), client)
      var seen = limits.makeAsyncIterator()
      #expect(await seen.next()?.keys == ["Limit"])
      #expect(settings.integer("Limit", default: 3) == 7)
      var database = sections.makeAsyncIterator()
      #expect(await database.next()?.concerns(section: "Database") == true)
      #expect(settings.string("Database:Url", default: "") == "a")
      await client.shutdown()
      #expect(await seen.next() == nil)
      #expect(settings.status.state == .shutdown)
      #expect(settings.integer("Limit", default: 3) == 7)
    }
  }

  @Test func theProviderLooksUpAndWatches() async throws {
    try await withServer { _, client, _ in
      try await set("Server:Port", .integer(80), client)
      let settings = client.configuration(application: "shop")
      let provider = settings.provider
      try await settings.waitUntilReady(timeout: .seconds(20))
      let found = try await provider.fetchValue(forKey: ["server", "port"], type: .int)
      #expect(found.encodedKey == "Server:Port")
      #expect(found.content == .int(80))
      #expect(!found.isSecret)
      #expect(try provider.value(forKey: ["missing"], type: .string).content == nil)
      #expect(throws: RPCError.self) {
        try provider.value(forKey: ["server", "port"], type: .bool)
      }
      try await provider.watchValue(forKey: ["Server", "Port"], type: .int) { updates in
        var seen: [SettingsProvider.Content?] = []
        for await update in updates {
          seen.append(try update.get().content)
          if seen.count == 2 { break }
          try await set("Other", .integer(1), client)
          try await set("Server:Port", .integer(81), client)
        }
        #expect(seen == [.int(80), .int(81)])
      }
      #expect(provider.snapshot().settings["Server:Port"] == .integer(81))
    }
  }

  @Test func secretsComeOnlyWhenAskedFor() async throws {
    try await withServer { _, client, _ in
      _ = try await client.admin.configuration.setSetting(
        .init(
          application: "shop", key: "Password", value: SettingValue.string("hidden").message,
          sensitive: true))
      let masked = client.configuration(application: "shop")
      let revealed = client.configuration(application: "shop", revealsSecrets: true)
      try await masked.waitUntilReady(timeout: .seconds(20))
      try await revealed.waitUntilReady(timeout: .seconds(20))
      #expect(masked["Password"] == nil)
      #expect(masked.snapshot.settings["Password"]?.isSensitive == true)
      #expect(revealed["Password"] == .string("hidden"))
    }
  }
}
