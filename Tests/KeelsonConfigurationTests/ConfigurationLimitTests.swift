import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonStore
import KeelsonTestKit
import Testing

@testable import KeelsonConfiguration

@Suite struct ConfigurationLimitTests {
  private typealias API = KeelsonConfigurationV1

  @Test func theBytesOfAnEnvironmentAreBounded() async throws {
    var limits = ConfigurationLimits()
    limits.environmentBytes = 1_000
    limits.changeBytes = 700
    try await ConfigurationServer.run(limits: limits) { server in
      let text = String(repeating: "x", count: 400)
      try await server.set("A", .stringValue(text))
      try await server.set("B", .stringValue(text))
      let error = await failure { try await server.set("C", .stringValue(text)) }
      #expect(error?.code == .resourceExhausted)
      #expect(error?.message.contains("at most 1000 are allowed") == true)
      // Another value of the same size takes no more room, and another environment has its own.
      try await server.set("B", .stringValue(String(repeating: "y", count: 400)))
      _ = try await server.client.setSetting(
        .init(
          application: "shop", environment: "other", key: "C",
          value: .init(kind: .stringValue(text))))
      _ = try await server.client.deleteSetting(.init(application: "shop", key: "A"))
      try await server.set("C", .stringValue(text))
      // What becomes a secret takes a little more, which is counted and refuses nothing.
      _ = try await server.client.defineSchema(
        .init(
          schema: .init(
            application: "shop",
            rules: ["B", "C"].map { .init(key: $0, type: .string, sensitive: true) })))
      let (counted, stored) = try await server.database.read { transaction in
        (
          try await EnvironmentRepository.environment(FakeSources.scope, in: transaction)?.bytes,
          try await SettingRepository.all(FakeSources.scope, in: transaction)
        )
      }
      #expect(counted == stored.reduce(0) { $0 + $1.storedBytes })
      for key in ["B", "C"] {
        _ = try await server.client.deleteSetting(.init(application: "shop", key: key))
      }
      let change = await failure {
        try await server.client.batchSetSettings(
          .init(
            application: "shop",
            changes: ["A", "B"].map {
              .init(key: $0, change: .value(.init(kind: .stringValue(text))))
            }))
      }
      #expect(change?.code == .resourceExhausted)
      #expect(change?.message.contains("at most 700 are allowed in one change") == true)
      let left = try await server.database.read {
        try await EnvironmentRepository.environment(FakeSources.scope, in: $0)?.bytes
      }
      #expect(left == 0)
    }
  }

  @Test func whatIsOverALoweredLimitCanBeDeleted() async throws {
    try await TestDatabase.onEachEngine { made in
      let keys = try ConfigurationServer.keys()
      let first = try await ConfigurationServer(on: made, keys: keys)
      for key in ["A", "B", "C", "D"] {
        try await first.set(key, .stringValue(String(repeating: "x", count: 100)))
      }
      try await first.stop()
      var limits = ConfigurationLimits()
      limits.settings = 2
      limits.environmentBytes = 200
      let second = try await ConfigurationServer(on: made, limits: limits, keys: keys)
      _ = try await second.client.deleteSetting(.init(application: "shop", key: "A"))
      #expect(
        await failure { try await second.set("A", .integerValue(1)) }?.code == .resourceExhausted)
      try await second.stop()
    }
  }

  @Test func otherLimitsAreInForceAtOnce() async throws {
    try await ConfigurationServer.run { server in
      try await server.set("A", .integerValue(1))
      try await server.set("B", .integerValue(1))
      var limits = ConfigurationLimits()
      limits.settings = 2
      limits.keyBytes = 5
      server.service.use(limits)
      #expect(
        await failure { try await server.set("C", .integerValue(1)) }?.code == .resourceExhausted)
      #expect(
        await failure { try await server.set("LongKey", .integerValue(1)) }?.fields == ["key"])
      server.service.use(ConfigurationLimits())
      try await server.set("LongKey", .integerValue(1))
    }
  }

  /// What a caller's own schema costs is bounded before anything is compared with it: without the
  /// bound this takes a quarter of an hour.
  @Test func aSchemaThatIsTriedKeepsNobodyBusy() async throws {
    var limits = ConfigurationLimits()
    limits.validationSteps = 100_000
    try await ConfigurationServer.run(limits: limits) { server in
      let text = String(repeating: "a", count: 8_000)
      let changes = (0..<350).map { number in
        API.SettingChange(
          key: "A:\(number)", change: .value(.init(kind: .stringValue(text))))
      }
      _ = try await server.client.batchSetSettings(.init(application: "shop", changes: changes))
      let slow = API.Schema(
        application: "shop",
        rules: [.init(key: "A:**", type: .string, pattern: "(?:[a-y]?){900}")])
      let start = ContinuousClock.now
      let answer = try await server.client.validateSettings(
        .init(application: "shop", schema: slow))
      #expect(answer.violations.contains { $0.rule == "steps" })
      let refused = await failure {
        try await server.client.defineSchema(.init(schema: slow, allowViolations: true))
      }
      #expect(refused?.code == .resourceExhausted)
      #expect(.now - start < .seconds(300))
    }
  }

  @Test func theStepsOfARequestAreBounded() async throws {
    var limits = ConfigurationLimits()
    limits.validationSteps = 50_000
    try await ConfigurationServer.run(limits: limits) { server in
      func schema(_ pattern: String) -> API.Schema {
        .init(application: "shop", rules: [.init(key: "A:**", type: .string, pattern: pattern)])
      }
      let text = String(repeating: "a", count: 1_000)
      _ = try await server.client.defineSchema(.init(schema: schema("[a-z]+")))
      for number in 0..<5 { try await server.set("A:\(number)", .stringValue(text)) }
      // The settings there are would cost too much with it, even where violations are allowed.
      let slow = schema("(?:[a-y]?){900}")
      let refused = await failure {
        try await server.client.defineSchema(.init(schema: slow, allowViolations: true))
      }
      #expect(refused?.code == .resourceExhausted)
      #expect(refused?.message.contains("50000 steps, the limit") == true)

      let changes = (0..<100).map { number in
        API.SettingChange(
          key: "A:\(number)",
          change: .value(.init(kind: .stringValue(String(repeating: "b", count: 1_000)))))
      }
      let error = await failure {
        try await server.client.batchSetSettings(.init(application: "shop", changes: changes))
      }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains("more than 50000 steps") == true)
      #expect(try await server.all().allSatisfy { $0.contains("aaa") })
      // Each change for itself is little.
      for change in changes.prefix(10) {
        _ = try await server.client.batchSetSettings(
          .init(application: "shop", changes: [change]))
      }
      let response = try await server.client.validateSettings(
        .init(application: "shop", schema: slow))
      #expect(Set(response.violations.map(\.rule)) == ["steps"])
    }
  }

  /// The answer is that of the call's own change, whatever others have done before it is sent.
  @Test func everyCallerIsAnsweredWhatItSet() async throws {
    try await ConfigurationServer.run { server in
      let client = server.client
      try await withThrowingTaskGroup(of: Void.self) { group in
        for caller in 0..<8 {
          group.addTask {
            for round in 0..<20 {
              let text = "\(caller)-\(round)"
              let value = API.SettingValue(kind: .stringValue(text))
              if caller == 0 {
                let done = try? await client.deleteSetting(.init(application: "shop", key: "A"))
                #expect(done?.setting == nil)
              } else if caller < 5 {
                let done = try await client.setSetting(
                  .init(application: "shop", key: "A", value: value))
                #expect(done.value?.text == text)
              } else {
                let done = try await client.batchSetSettings(
                  .init(application: "shop", changes: [.init(key: "A", change: .value(value))]))
                #expect(done.settings.map { $0.value?.text } == [text])
                #expect(done.settings.map(\.revision) == [done.revision])
              }
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func namesOfLayersTellNothing() async throws {
    var tags: Set<String> = []
    for _ in 0..<2 {
      try await ConfigurationServer.run(layers: [FakeSources.file(["A": 1])]) { server in
        for try await message in server.client.watchSettings(.init(application: "shop")) {
          tags.insert(message.layers)
          break
        }
      }
    }
    // Equal layers of four servers: whoever guesses their values cannot check the guess.
    #expect(tags.count == 4)
  }

  @Test func valuesThatAreNoNumbersAndTextsWithNulAreRefused() async throws {
    try await ConfigurationServer.run { server in
      let client = server.client
      let schema = API.Schema(
        application: "shop",
        rules: [
          .init(
            key: "A", type: .number, minimum: .init(kind: .numberValue(.nan)),
            allowedValues: [.init(kind: .numberValue(.infinity))])
        ])
      let error = await failure { try await client.defineSchema(.init(schema: schema)) }
      #expect(error?.code == .invalidArgument)
      #expect(error?.fields == ["schema.rules[0]"])

      for index in 0..<3 {
        try await server.set("K\(index)", .integerValue(1))
        _ = try await client.createSnapshot(.init(application: "shop", name: "s\(index)"))
      }
      let settings = try await client.listSettings(.init(application: "shop", pageSize: 1))
      let history = try await client.listSettingHistory(.init(application: "shop", pageSize: 1))
      let snapshots = try await client.listSnapshots(.init(application: "shop", pageSize: 1))
      let calls: [(String, (String) async throws -> Void)] = [
        (
          settings.nextPageToken,
          {
            _ = try await client.listSettings(
              .init(application: "shop", pageSize: 1, pageToken: $0))
          }
        ),
        (
          history.nextPageToken,
          {
            _ = try await client.listSettingHistory(
              .init(application: "shop", pageSize: 1, pageToken: $0))
          }
        ),
        (
          snapshots.nextPageToken,
          {
            _ = try await client.listSnapshots(
              .init(application: "shop", pageSize: 1, pageToken: $0))
          }
        ),
      ]
      for (token, call) in calls {
        try await call(token)
        let refused = await failure { try await call(token + "\0") }
        #expect(refused?.code == .invalidArgument)
        #expect(refused?.fields == ["page_token"])
      }
    }
  }

  @Test func aRuleOfALaterVersionKeepsItsSecrets() throws {
    let schema = API.Schema(
      application: "shop",
      rules: [
        .init(key: "Known", type: .integer),
        .init(key: "Later:*", type: .unrecognized(99), sensitive: true),
        .init(key: "Open", type: .unrecognized(99)),
      ], closed: true)
    let rules = ConfigurationSchema(stored: schema)
    #expect(rules.isSensitive("Later:Password"))
    #expect(!rules.isSensitive("Open") && !rules.isSensitive("Known"))
    // It is not known what the value has to be, so anything is taken.
    guard
      case .success(let setting) = rules.check(
        "Later:Password", LayerValue(.string("x")), in: .api),
      case .success = rules.check("Open", LayerValue(.string("x")), in: .api),
      case .failure = rules.check("Other", LayerValue(.string("x")), in: .api)
    else {
      Issue.record("a rule of a later version is not let through, or too much is")
      return
    }
    #expect(setting.isSensitive)
    let unreadable = ConfigurationSchema(
      stored: .init(rules: [.init(key: "<later syntax>", type: .string, sensitive: true)]))
    #expect(unreadable.isSensitive("Anything"))
  }
}
