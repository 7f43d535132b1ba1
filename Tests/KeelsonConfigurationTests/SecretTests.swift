import Foundation
import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonConfiguration

@Suite struct SecretTests {
  private typealias API = KeelsonConfigurationV1

  /// Plants marked secrets everywhere one can be, then looks for them in everything there is.
  @Test func noSecretIsFoundAnywhere() async throws {
    let marks = (0..<6).map { "PLANTED-\($0)-\(UUID().uuidString)" }
    let layers: [LayerSource] = [
      .secrets(["Store:Password": marks[0]], source: "files"),
      FakeSources.file(["File:Password": .string(marks[1])]),
    ]
    try await TestDatabase.onEachEngine { made in
      let server = try await ConfigurationServer(
        on: made, sources: FakeSources(layers), keys: ConfigurationServer.keys())
      let schema = API.Schema(
        application: "shop",
        rules: [
          .init(key: "File:Password", type: .string, sensitive: true),
          .init(key: "Api:Password", type: .string, sensitive: true),
          .init(key: "Api:Number", type: .integer, sensitive: true),
        ])
      _ = try await server.client.defineSchema(.init(schema: schema))
      var answers: [String] = []
      answers.append("\(try await server.set("Api:Password", .stringValue(marks[2])))")
      answers.append("\(try await server.set("Asked", .stringValue(marks[3]), sensitive: true))")
      // Set again, so that it stands in the history as well, and in a snapshot.
      _ = try await server.client.createSnapshot(.init(application: "shop", name: "one"))
      answers.append("\(try await server.set("Api:Password", .stringValue(marks[4])))")
      let error = await failure { try await server.set("Api:Number", .stringValue(marks[5])) }
      answers.append("\(String(describing: error)) \(error?.details ?? [])")
      answers.append("\(try await server.client.listSettings(.init(application: "shop")))")
      for key in ["Store:Password", "File:Password", "Api:Password", "Asked"] {
        answers.append(
          "\(try await server.client.getSetting(.init(application: "shop", key: key)))")
      }
      answers.append("\(try await server.client.listSettingHistory(.init(application: "shop")))")
      answers.append(
        "\(try await server.client.getSnapshot(.init(application: "shop", name: "one")))")
      for try await response in server.client.watchSettings(.init(application: "shop")) {
        answers.append("\(response)")
        break
      }
      _ = try await server.client.rollbackSettings(
        .init(application: "shop", target: .toSnapshot("one")))
      for try await progress in server.client.rotateKey(.init(application: "shop")) {
        answers.append("\(progress)")
      }
      answers.append("\(try await server.client.validateSettings(.init(application: "shop")))")
      answers.append("\(try await server.client.listApplications(.init()))")
      let stored = try await server.database.read { transaction in
        var rows: [Row] = []
        for table in ["audit_entries", "events", "configuration_history", "configuration_settings"]
        {
          rows += try await transaction.query("SELECT * FROM \(table)")
        }
        return rows.flatMap(\.values).map { value -> [UInt8] in
          switch value {
          case .text(let text): Array(text.utf8)
          case .blob(let bytes): bytes
          default: []
          }
        }
      }
      #expect(try await server.value("Api:Password", reveal: true) == .stringValue(marks[2]))
      try await server.stop()

      let text = answers.joined(separator: "\n")
      for mark in marks {
        #expect(!text.contains(mark), "an answer shows a secret")
        for bytes in stored {
          #expect(!contains(bytes, mark), "a row holds a secret")
        }
        // Those of PostgreSQL are searched by test_configuration.py.
        guard let folder = made.folder else { continue }
        for file in try FileManager.default.subpathsOfDirectory(atPath: folder) {
          let data = FileManager.default.contents(atPath: "\(folder)/\(file)") ?? Data()
          #expect(data.range(of: Data(mark.utf8)) == nil, "\(file) holds a secret")
        }
      }
    }
  }

  private func contains(_ bytes: [UInt8], _ mark: String) -> Bool {
    Data(bytes).range(of: Data(mark.utf8)) != nil
  }

  @Test func aRevealIsAudited() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("P", .stringValue("x"), sensitive: true)
      _ = try await server.value("P", reveal: true)
      let rows = try await server.database.read {
        try await $0.query(
          "SELECT action, entity_id, category FROM audit_entries ORDER BY sequence DESC LIMIT 1")
      }
      #expect(try rows.first?.get("action") == "setting.reveal")
      #expect(try rows.first?.get("entity_id") == "shop/test/P")
      #expect(try rows.first?.get("category") == "access")
    }
  }

  @Test(arguments: [
    ("ipv4:127.0.0.1:5000", true), ("ipv6:[::1]:5000", true), ("unix:/run/k", true),
    ("inprocess:", true), ("ipv4:10.0.0.1:5000", false), ("ipv6:[2001:db8::1]:5", false),
    ("", false),
  ])
  func onlyTheEntitledAreTold(peer: String, isEntitled: Bool) async throws {
    let context = ServerContext(
      method: API.ConfigurationServiceMethods.getSetting, peer: peer)
    #expect(ConfigurationService.isEntitled(context) == isEntitled)
    try await ConfigurationServer.run { server in
      try await server.set("P", .stringValue("x"), sensitive: true)
      let request = API.GetSettingRequest(application: "shop", key: "P", reveal: true)
      if isEntitled {
        let setting = try await server.service.getSetting(request, context: context)
        #expect(setting.value?.text == "x")
      } else {
        let error = await failure {
          try await server.service.getSetting(request, context: context)
        }
        #expect(error?.code == .permissionDenied)
        let rows = try await server.database.read {
          try await $0.query(
            "SELECT outcome FROM audit_entries ORDER BY sequence DESC LIMIT 1")
        }
        #expect(try rows.first?.get(0) == "denied")
      }
    }
  }

  @Test func aMissingKeyIsNamedAndTheRestWorks() async throws {
    try await TestDatabase.onEachEngine { made in
      let first = try await ConfigurationServer(
        on: made, keys: ConfigurationServer.keys("lost-key"))
      try await first.set("P", .stringValue("x"), sensitive: true)
      try await first.set("A", .integerValue(1))
      try await first.stop()

      let second = try await ConfigurationServer(
        on: made, keys: ConfigurationServer.keys("other-key"))
      let error = await failure { try await second.value("P", reveal: true) }
      #expect(error?.code == .failedPrecondition)
      #expect(error?.message.contains("'lost-key'") == true)
      #expect(try await second.all() == ["A=1", "P=******"])
      try await second.set("A", .integerValue(2))
      // A new data key seals what is set from now on, the lost secret itself included.
      try await second.set("Q", .stringValue("y"), sensitive: true)
      #expect(try await second.value("Q", reveal: true) == .stringValue("y"))
      _ = try await second.client.deleteSetting(.init(application: "shop", key: "Q"))
      var progress = API.RotateKeyResponse()
      for try await step in second.client.rotateKey(.init(application: "shop")) { progress = step }
      #expect(progress.finished)
      #expect(progress.missingKeyIds == ["lost-key"])
      let listed = try await second.client.listSettings(.init(application: "shop", reveal: true))
      #expect(listed.settings.map(\.masked) == [false, true])
      for try await response in second.client.watchSettings(
        .init(application: "shop", reveal: true))
      {
        guard case .snapshot(let snapshot)? = response.event else { break }
        #expect(snapshot.settings.map { $0.value?.text } == ["2", nil])
        break
      }
      try await second.set("P", .stringValue("anew"))
      #expect(try await second.value("P", reveal: true) == .stringValue("anew"))
      try await second.stop()

      let none = try await ConfigurationServer(on: made, keys: nil)
      #expect(
        await failure { try await none.value("P", reveal: true) }?.code == .failedPrecondition)
      #expect(try await none.all() == ["A=2", "P=******"])
      #expect(
        await failure { try await none.set("Z", .stringValue("y"), sensitive: true) }?.code
          == .failedPrecondition)
      try await none.stop()
    }
  }

  @Test func nobodyLearnsSecretsByTryingSchemas() async throws {
    let layers = [FakeSources.file(["File": "mark-in-file"])]
    try await ConfigurationServer.run(layers: layers) { server in
      let schema = API.Schema(
        application: "shop",
        rules: [
          .init(key: "File", type: .string, sensitive: true),
          .init(key: "Api", type: .string, sensitive: true),
        ])
      _ = try await server.client.defineSchema(.init(schema: schema))
      try await server.set("Api", .stringValue("mark-in-api"))
      let trial = API.Schema(
        application: "shop",
        rules: [
          .init(key: "File", type: .integer), .init(key: "Api", type: .string, pattern: "x.*"),
        ])
      func context(_ peer: String) -> ServerContext {
        ServerContext(
          method: API.ConfigurationServiceMethods.validateSettings, peer: peer)
      }
      let request = API.ValidateSettingsRequest(application: "shop", schema: trial)
      let stranger = try await server.service.validateSettings(
        request, context: context("ipv4:10.0.0.1:5"))
      #expect(stranger.violations == [])
      let local = try await server.service.validateSettings(
        request, context: context("unix:/run/keelson"))
      #expect(local.violations.map { "\($0.key) \($0.rule)" } == ["Api pattern", "File type"])
      #expect(!"\(local)".contains("mark-in"))
      let denied = await failure {
        try await server.service.defineSchema(
          .init(schema: trial, allowViolations: true), context: context("ipv4:10.0.0.1:5"))
      }
      #expect(denied?.code == .permissionDenied)
      #expect(try await server.all() == ["Api=******", "File=******"])
      for body in [
        {
          _ = try await server.service.listSettings(
            .init(application: "shop", reveal: true), context: context("ipv4:10.0.0.1:5"))
        }
      ] as [() async throws -> Void] {
        #expect(await failure(body)?.code == .permissionDenied)
      }
    }
  }

  @Test func whatBecomesASecretIsSealedInThePast() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("P", .stringValue("plain-once"))
      _ = try await server.client.createSnapshot(.init(application: "shop", name: "one"))
      let last = try await server.set("P", .stringValue("hidden-now"), sensitive: true)
      let rows = try await server.database.read { transaction in
        var rows: [Row] = []
        for table in [
          "configuration_history", "configuration_settings", "configuration_snapshot_settings",
        ] { rows += try await transaction.query("SELECT * FROM \(table)") }
        rows += try await transaction.query(
          "SELECT before_state, after_state FROM audit_entries WHERE revision = $1",
          [.integer(last.revision)])
        return rows
      }
      for value in rows.flatMap(\.values) {
        switch value {
        case .blob(let bytes):
          #expect(!contains(bytes, "plain-once"))
          #expect(!contains(bytes, "hidden-now"))
        case .text(let text): #expect(!text.contains("plain-once"))
        default: break
        }
      }
      _ = try await server.client.rollbackSettings(
        .init(application: "shop", target: .toSnapshot("one")))
      #expect(try await server.value("P", reveal: true) == .stringValue("plain-once"))
    }
  }

  @Test func keysAreRotatedInSteps() async throws {
    try await TestDatabase.onEachEngine { made in
      var limits = ConfigurationLimits()
      limits.rotationStep = 3
      let server = try await ConfigurationServer(
        on: made, limits: limits, keys: ConfigurationServer.keys())
      for index in 0..<10 {
        try await server.set("P\(index)", .stringValue("secret \(index)"), sensitive: true)
      }
      _ = try await server.client.createSnapshot(.init(application: "shop", name: "one"))
      let before = try await server.database.read {
        try await $0.query("SELECT body FROM configuration_settings ORDER BY key")
      }
      var steps: [API.RotateKeyResponse] = []
      for try await step in server.client.rotateKey(.init(application: "shop")) {
        steps.append(step)
      }
      #expect(steps.last?.finished == true)
      #expect(steps.last?.done == 30)
      #expect(steps.count > 8)
      let (after, keys) = try await server.database.read { transaction in
        (
          try await transaction.query("SELECT body FROM configuration_settings ORDER BY key"),
          try await transaction.query("SELECT number FROM configuration_data_keys")
        )
      }
      #expect(try keys.map { try $0.get(0, as: Int.self) } == [2])
      for (old, new) in zip(before, after) { #expect(old.values != new.values) }
      for index in 0..<10 {
        #expect(
          try await server.value("P\(index)", reveal: true) == .stringValue("secret \(index)"))
      }
      try await server.set("P0", .stringValue("new"), sensitive: true)
      _ = try await server.client.rollbackSettings(
        .init(application: "shop", target: .toSnapshot("one")))
      #expect(try await server.value("P0", reveal: true) == .stringValue("secret 0"))
      try await server.stop()

      // A new key encryption key, the old one still there.
      let both = try LocalKeys(
        ["first": ConfigurationServer.keyBytes, "second": [UInt8](repeating: 9, count: 32)],
        currentID: "second")
      let second = try await ConfigurationServer(on: made, keys: both)
      for try await step in second.client.rotateKey(
        .init(application: "shop", rotation: .wrapping))
      { #expect(step.wrappingKeyId == "second") }
      try await second.stop()
      let third = try await ConfigurationServer(
        on: made,
        keys: LocalKeys(["second": [UInt8](repeating: 9, count: 32)], currentID: "second"))
      #expect(try await third.value("P3", reveal: true) == .stringValue("secret 3"))
      try await third.stop()
    }
  }

  @Test func whatASchemaMakesASecretIsSealed() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("P", .stringValue("plain-once"))
      _ = try await server.client.createSnapshot(.init(application: "shop", name: "one"))
      try await server.set("P", .stringValue("plain-twice"))
      let schema = API.Schema(
        application: "shop", rules: [.init(key: "P", type: .string, sensitive: true)])
      _ = try await server.client.defineSchema(.init(schema: schema))
      #expect(try await server.all() == ["P=******"])
      #expect(try await server.value("P", reveal: true) == .stringValue("plain-twice"))
      let rows = try await server.database.read { transaction in
        var rows: [Row] = []
        for table in [
          "configuration_history", "configuration_settings", "configuration_snapshot_settings",
        ] { rows += try await transaction.query("SELECT * FROM \(table)") }
        return rows
      }
      for case .blob(let bytes) in rows.flatMap(\.values) {
        #expect(!contains(bytes, "plain-"))
      }
      _ = try await server.client.rollbackSettings(
        .init(application: "shop", target: .toSnapshot("one")))
      #expect(try await server.value("P", reveal: true) == .stringValue("plain-once"))
    }
  }
}
