import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonConfiguration

/// Random changes of every kind against the simplest account of what they should come to, and
/// watchers that have to end with the same.
@Suite struct SettingsModelTests {
  private typealias API = KeelsonConfigurationV1
  private typealias Values = [String: Int64]

  private struct Model {
    var values: Values = [:]
    var past: [(revision: Int64, values: Values)] = [(0, [:])]
    var snapshots: [String: Values] = [:]

    mutating func change(_ revision: Int64, _ values: Values) {
      self.values = values
      // What changes nothing answers with the revision of an earlier change.
      if (past.last?.revision ?? 0) < revision { past.append((revision, values)) }
    }
  }

  @Test(arguments: [1, 2, 3, 4])
  func agreesWithASimpleAccount(seed: UInt64) async throws {
    try await ConfigurationServer.run { server in
      let end = Watchable<Int64?>(nil)
      let folded = try await withThrowingTaskGroup(of: Values?.self) { group in
        for watcher in 0..<3 {
          group.addTask {
            try await self.follow(server, seed: seed &* 17 &+ UInt64(watcher), until: end)
          }
        }
        group.addTask {
          let model = try await self.change(server, seed: seed)
          end.update { $0 = model.past.last?.revision }
          // Wakes whoever waits for the last revision already.
          _ = try await server.client.setSetting(
            .init(application: "shop", key: "End", value: .init(kind: .integerValue(1))))
          let all = try await server.client.listSettings(
            .init(application: "shop", pageSize: 1_000))
          var values = model.values
          values["End"] = 1
          #expect(self.values(all.settings) == values)
          return nil
        }
        return try await group.reduce(into: [Values]()) { all, one in if let one { all.append(one) }
        }
      }
      let truth = self.values(
        try await server.client.listSettings(.init(application: "shop", pageSize: 1_000)).settings)
      #expect(folded.count == 3)
      for watcher in folded {
        #expect(watcher == truth)
      }
    }
  }

  private func values(_ settings: [API.Setting]) -> Values {
    Dictionary(
      uniqueKeysWithValues: settings.map { setting in
        guard case .integerValue(let value)? = setting.value?.kind else { return (setting.key, -1) }
        return (setting.key, value)
      })
  }

  private func change(_ server: ConfigurationServer, seed: UInt64) async throws -> Model {
    var random = SeededGenerator(seed: seed)
    var model = Model()
    let keys = (0..<6).map { "Section:Key\($0)" }
    let client = server.client
    for step in 0..<150 {
      var values = model.values
      let key = keys.randomElement(using: &random) ?? "A"
      let value = Int64.random(in: 0..<4, using: &random)
      do {
        switch Int.random(in: 0..<8, using: &random) {
        case 0...2:
          let setting = try await server.set(key, .integerValue(value))
          values[key] = value
          model.change(setting.revision, values)
        case 3:
          let deleted = try await client.deleteSetting(.init(application: "shop", key: key))
          values[key] = nil
          model.change(deleted.revision, values)
        case 4:
          var changes: [API.SettingChange] = []
          for key in keys.shuffled(using: &random).prefix(3) {
            if Bool.random(using: &random) {
              changes.append(.init(key: key, change: .delete(true)))
              values[key] = nil
            } else {
              changes.append(
                .init(key: key, change: .value(.init(kind: .integerValue(value)))))
              values[key] = value
            }
          }
          let done = try await client.batchSetSettings(
            .init(application: "shop", changes: changes))
          model.change(done.revision, values)
        case 5:
          let name = "s\(step)"
          _ = try await client.createSnapshot(.init(application: "shop", name: name))
          model.snapshots[name] = values
        case 6:
          guard let snapshot = model.snapshots.keys.sorted().randomElement(using: &random) else {
            continue
          }
          let done = try await client.rollbackSettings(
            .init(application: "shop", target: .toSnapshot(snapshot)))
          model.change(done.revision, model.snapshots[snapshot] ?? [:])
        default:
          guard let past = model.past.dropFirst().randomElement(using: &random) else { continue }
          let done = try await client.rollbackSettings(
            .init(application: "shop", target: .toRevision(past.revision), keys: [key]))
          values[key] = past.values[key]
          model.change(done.revision, values)
        }
      } catch let error as RPCError where error.code == .notFound {
        continue
      }
      let all = try await client.listSettings(.init(application: "shop", pageSize: 1_000))
      #expect(self.values(all.settings) == model.values, "after step \(step)")
    }
    return model
  }

  /// Follows the changes over many streams, each ended after a random number of messages.
  private func follow(
    _ server: ConfigurationServer, seed: UInt64, until end: Watchable<Int64?>
  ) async throws -> Values {
    var random = SeededGenerator(seed: seed)
    var values: Values = [:]
    var revision: Int64 = 0
    while true {
      var left = Int.random(in: 1...20, using: &random)
      for try await message in server.client.watchSettings(
        .init(application: "shop", resumeRevision: revision))
      {
        switch message.event {
        case .snapshot(let snapshot):
          values = [:]
          for setting in snapshot.settings { values[setting.key] = setting.value?.integer }
        case .change(let change):
          #expect(message.revision > revision, "a change came twice or out of order")
          for setting in change.settings { values[setting.key] = setting.value?.integer }
          for key in change.removedKeys {
            #expect(values[key] != nil)
            values[key] = nil
          }
        case .heartbeat, nil: break
        }
        revision = message.revision
        if end.value != nil, values["End"] != nil { return values }
        left -= 1
        if left == 0 { break }
      }
    }
  }
}

extension KeelsonConfigurationV1.SettingValue {
  fileprivate var integer: Int64? {
    if case .integerValue(let value)? = kind { return value }
    return nil
  }
}
