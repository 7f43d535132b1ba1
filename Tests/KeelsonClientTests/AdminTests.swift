import Foundation
import KeelsonClient
import Testing

/// Every admin call of the client library against the real server.
@Suite("The client's admin calls against the real server", .timeLimit(.minutes(2)))
struct AdminTests {
  private func withServer(_ body: (KeelsonClient) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "keelson-admin-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let server = try await KeelsonProcess.start(data: folder)
    let client = try await KeelsonClient.connect(to: server.address)
    try await body(client)
    await client.shutdown()
    #expect(await server.stop() == 0)
  }

  @Test("a flag's whole life")
  func flags() async throws {
    try await withServer { client in
      let admin = client.admin.flags
      let created = try await admin.createFlag(
        .init(flag: .init(key: "a", description: "first", tags: ["x"])))
      #expect(created.type == .boolean)
      #expect(created.variants.mapValues(\.json) == ["on": true, "off": false])
      #expect(try await admin.getFlag(.init(key: "a")) == created)

      let updated = try await admin.updateFlag(
        .init(
          flag: .init(key: "a", description: "second", etag: created.etag),
          updateMask: ["description"]))
      #expect(updated.description == "second")
      let stale = await #expect(throws: RPCError.self) {
        try await admin.updateFlag(
          .init(
            flag: .init(key: "a", description: "third", etag: created.etag),
            updateMask: ["description"]))
      }
      #expect(stale?.code == .aborted)

      let toggled = try await admin.toggleFlag(.init(key: "a", enabled: true))
      #expect(toggled.environments["development"]?.enabled == true)
      let one = try await admin.evaluateFlag(.init(key: "a", expectedType: .boolean))
      #expect(one.evaluation?.value?.json == true)
      let all = try await admin.evaluateFlags(.init())
      #expect(all.evaluations.map(\.key) == ["a"])
      #expect(try await admin.listFlags(.init(tags: ["x"])).flags == [toggled])

      let archived = try await admin.archiveFlag(.init(key: "a"))
      #expect(archived.archiveTime != nil)
      #expect(try await admin.listFlags(.init()).flags.isEmpty)
      let restored = try await admin.restoreFlag(.init(key: "a", etag: archived.etag))
      #expect(restored.archiveTime == nil)
      let history = try await admin.listFlagHistory(.init(key: "a"))
      #expect(
        history.entries.map(\.action) == ["restored", "archived", "toggled", "updated", "created"])
      #expect(history.entries.map(\.flag) == [restored, archived, toggled, updated, created])
    }
  }

  @Test("segments and sets")
  func segmentsAndSets() async throws {
    try await withServer { client in
      let admin = client.admin.flags
      let set = try await admin.createFlagSet(.init(flagSet: .init(key: "shop", bucketing: .v2)))
      #expect(try await admin.getFlagSet(.init(key: "shop")) == set)
      #expect(try await admin.listFlagSets(.init()).flagSets.map(\.key) == ["default", "shop"])
      let changed = try await admin.updateFlagSet(
        .init(flagSet: .init(key: "shop", description: "ours"), updateMask: ["description"]))
      #expect(changed.description == "ours")
      #expect(changed.bucketing == .v2)

      let dutch = #"{"==": [{"var": "country"}, "NL"]}"#
      let segment = try await admin.createSegment(
        .init(segment: .init(flagSet: "shop", key: "home", condition: dutch)))
      #expect(try await admin.getSegment(.init(flagSet: "shop", key: "home")) == segment)
      #expect(try await admin.listSegments(.init(flagSet: "shop")).segments == [segment])
      _ = try await admin.createFlag(
        .init(
          flag: .init(
            flagSet: "shop", key: "a",
            environments: [
              "development": .init(
                enabled: true, defaultVariant: "off",
                targeting: #"{"if": [{"$ref": "home"}, "on", "off"]}"#)
            ])))
      let request = KeelsonFlagsV1.EvaluateFlagRequest(
        flagSet: "shop", key: "a", context: .init(["country": "BE"]))
      #expect(try await admin.evaluateFlag(request).evaluation?.variant == "off")
      _ = try await admin.updateSegment(
        .init(
          segment: .init(
            flagSet: "shop", key: "home", condition: #"{"in": [{"var": "country"}, ["NL", "BE"]]}"#
          ), updateMask: ["condition"]))
      #expect(try await admin.evaluateFlag(request).evaluation?.variant == "on")

      let inUse = await #expect(throws: RPCError.self) {
        try await admin.deleteSegment(.init(flagSet: "shop", key: "home"))
      }
      #expect(inUse?.code == .failedPrecondition)
      #expect(inUse?.message.contains("'a'") == true)
      _ = try await admin.archiveFlag(.init(flagSet: "shop", key: "a"))
      _ = try await admin.deleteSegment(.init(flagSet: "shop", key: "home"))
      #expect(try await admin.listSegments(.init(flagSet: "shop")).segments.isEmpty)
    }
  }

  @Test("health, by both protocols")
  func health() async throws {
    try await withServer { client in
      let health = try await client.health.getHealth()
      #expect(health.status == .healthy)
      #expect(health.components.map(\.name) == ["database", "cache", "jobs"])
      #expect(health.environment == "development")
      #expect(try await client.health.isAlive())
      let status = try await client.health.standard.check(
        .init(service: "keelson.flags.v1.FlagService"))
      #expect(status.status == .serving)
      for try await first in client.health.watchHealth() {
        #expect(first.ready)
        break
      }
    }
  }
}
