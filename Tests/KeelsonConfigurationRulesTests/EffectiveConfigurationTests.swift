import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonConfigurationRules

@Suite struct EffectiveConfigurationTests {
  private func schema() throws -> ConfigurationSchema {
    ConfigurationSchema(
      [
        try rule("Database:Url", .string) {
          $0.isRequired = true
          $0.format = .uri
        },
        try rule("Database:Password", .string) {
          $0.isSensitive = true
          $0.minimumLength = 8
        },
        try rule("Server:Port", .integer) {
          $0.defaultValue = .integer(8_080)
          $0.minimum = .integer(1)
          $0.maximum = .integer(65_535)
        },
        try rule("Server:Timeout", .duration) { $0.maximum = .string("1m") },
        try rule("Server:Hosts", .list) { $0.format = .host },
        try rule("Limits", .object),
        try rule("Mode", .string) { $0.allowedValues = [.string("fast"), .string("safe")] },
        try rule("Levels:*", .string) { $0.pattern = try? BoundedPattern("debug|info") },
      ], isClosed: true)
  }

  @Test func theHighestLayerWins() throws {
    let schema = try schema()
    let file = try LayerValues(
      .file,
      document: [
        "Database": ["Url": "postgres://a/x"], "Server": ["Port": 1, "Timeout": "00:00:30"],
        "Limits": ["calls": 5], "Mode": .null,
      ], source: "appsettings.json", schema: schema)
    let variables = LayerValues(
      environment: [
        "SHOP__SERVER__PORT": "9000", "SHOP__database__url": "postgres://b/y",
        "SHOP__Server__Hosts__1": "b", "SHOP__Server__Hosts__0": "a", "SHOPPER__X": "1",
        "SHOP__levels__Http": "info",
      ], prefix: "SHOP__", schema: schema, lower: [file])
    let (configuration, violations) = EffectiveConfiguration.merging(
      [variables, file], schema: schema)
    #expect(violations == [])
    #expect(configuration["Server:Port"] == .integer(9_000))
    #expect(configuration.settings["Server:Port"]?.layer == .environmentVariables)
    #expect(configuration.settings["Server:Port"]?.source == "SHOP__SERVER__PORT")
    #expect(configuration["Database:Url"] == .string("postgres://b/y"))
    #expect(configuration["Server:Timeout"] == .duration(.seconds(30)))
    #expect(configuration["Server:Hosts"] == .list(["a", "b"]))
    #expect(configuration["Limits"] == .object(["calls": 5]))
    #expect(configuration["Levels:Http"] == .string("info"))
    #expect(configuration["Mode"] == nil)
  }

  /// Stores that have only texts give a list element by element.
  @Test func theElementsOfASecretListAreGatheredAndStaySecret() throws {
    let secrets = LayerValues(
      secrets: ["Server:Hosts:1": "b", "Server:Hosts:0": "a", "Server:Port": "1"], source: "vault",
      schema: try schema())
    #expect(
      secrets.values == [
        "Server:Hosts": LayerValue(.list(["a", "b"]), source: "vault", isSensitive: true),
        "Server:Port": LayerValue(.string("1"), source: "vault", isSensitive: true),
      ])
  }

  @Test func everyViolationIsToldAtOnce() throws {
    let schema = try schema()
    let file = LayerValues(
      .file,
      [
        "Server:Prot": .init(.integer(1)), "Server:Timeout": .init(.string("2m")),
        "Mode": .init(.string("quick")), "Server:Port": .init(.string("80")),
        "Server:Hosts": .init(.list(["a", "b c", 5])), "Limits:calls": .init(.integer(5)),
        "bad key": .init(.integer(1)), "Levels:Http": .init(.string("loud")),
        "Database:Password": .init(.string("hunter2"), source: "appsettings.json"),
      ])
    let (configuration, violations) = EffectiveConfiguration.merging([file], schema: schema)
    #expect(
      violations.map { "\($0.key) \($0.rule.rawValue)" } == [
        "Database:Password length", "Database:Url required", "Levels:Http pattern",
        "Limits:calls section", "Mode allowed-values", "Server:Hosts format",
        "Server:Hosts format", "Server:Port type", "Server:Prot known-key",
        "Server:Timeout maximum", "bad key key-form",
      ])
    #expect(violations.first { $0.key == "Server:Prot" }?.message.contains("'Server:Port'") == true)
    #expect(!violations.map(\.description).joined().contains("hunter2"))
    #expect(configuration["Server:Port"] == .integer(8_080))
  }

  @Test func aSecretIsNeverInAMessage() throws {
    let secret = "xyzzy-plugh"
    for type in SettingType.allCases {
      let schema = ConfigurationSchema(
        [
          try rule("Secret", type) {
            $0.isSensitive = true
            $0.format = type == .string || type == .list ? .uri : nil
            $0.pattern = type == .string ? try? BoundedPattern("a") : nil
            $0.allowedValues = [.string("a")]
          }
        ], isClosed: true)
      for layer in ConfigurationLayer.allCases {
        let (_, violations) = EffectiveConfiguration.merging(
          [LayerValues(layer, ["Secret": .init(.string(secret))])], schema: schema)
        #expect(!violations.isEmpty)
        #expect(!violations.map(\.description).joined().contains(secret))
      }
    }
  }

  @Test func secretStoresGiveListsAndASecretStaysOne() throws {
    let schema = ConfigurationSchema(
      [try rule("Hosts", .list), try rule("Mode", .string) { $0.maximumLength = 3 }],
      isClosed: true)
    let layers = [
      LayerValues(
        secrets: ["Hosts:0": "a", "Hosts:1": "b", "Mode": "abc"], source: "files", schema: schema),
      LayerValues(.api, ["Mode": .init(.string("seven77"))]),
    ]
    let (configuration, violations) = EffectiveConfiguration.merging(layers, schema: schema)
    #expect(configuration["Hosts"] == .list(["a", "b"]))
    #expect(configuration.settings["Hosts"]?.isSensitive == true)
    #expect(violations.map(\.rule) == [.length])
    #expect(!violations.map(\.message).joined().contains("7"))
  }

  @Test func aValueThatIsTooLargeIsRefused() {
    let large = LayerValues(.api, ["A": .init(.string(String(repeating: "a", count: 101)))])
    let (configuration, violations) = EffectiveConfiguration.merging(
      [large], schema: .open, maximumValueBytes: 100)
    #expect(violations.map(\.rule) == [.size])
    #expect(configuration["A"] == nil)
  }

  @Test func aDocumentThatIsNoObjectIsRefused() {
    #expect(throws: LayerError.self) {
      try LayerValues(.file, document: [1], source: "appsettings.json", schema: .open)
    }
  }

  /// Random layers against the plainest way to say what the effective value is.
  @Test func agreesWithLookingFromTheTop() {
    var random = SeededGenerator(seed: 3)
    let keys = ["A", "B", "C:D", "C:E", "F"]
    for _ in 0..<500 {
      var layers: [LayerValues] = []
      for layer in ConfigurationLayer.allCases.shuffled(using: &random) where layer != .defaults {
        var values: [String: LayerValue] = [:]
        for key in keys where Bool.random(using: &random) {
          values[key] = .init(.integer(Int64.random(in: 0...9, using: &random)))
        }
        layers.append(LayerValues(layer, values))
      }
      let (configuration, violations) = EffectiveConfiguration.merging(layers, schema: .open)
      #expect(violations == [])
      for key in keys {
        let top = layers.filter { $0.values[key] != nil }.max { $0.layer < $1.layer }
        #expect(configuration[key] == top?.values[key]?.value)
        #expect(configuration.settings[key]?.layer == top?.layer)
      }
    }
  }
}
