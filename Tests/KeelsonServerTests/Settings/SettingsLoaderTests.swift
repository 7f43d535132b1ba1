import Foundation
import KeelsonCache
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets
import KeelsonTransport
import Testing

@testable import KeelsonServer

@Suite(.timeLimit(.minutes(5))) struct SettingsLoaderTests {
  private let folder: SettingsFolder

  init() throws { folder = try SettingsFolder() }

  // MARK: Precedence

  /// The layers from the lowest, and what each says of one setting.
  private static let layers = [
    ("file", "trace"), ("environment-file", "debug"), ("secret-store", "warning"),
    ("environment-variables", "error"), ("command-line", "info"),
  ]

  /// Whichever layers give a value: the highest of them counts.
  @Test(arguments: 0..<32)
  func theHighestLayerCounts(which: Int) async throws {
    let given = Self.layers.indices.filter { which >> $0 & 1 == 1 }
    func json(_ layer: Int) -> String {
      given.contains(layer) ? #","Logging":{"Level":"\#(Self.layers[layer].1)"}"# : ""
    }
    try folder.write(
      "appsettings.json",
      #"{"Environment":"staging","Secrets":{"Files":{"Folder":"\#(folder.path)/s"}}\#(json(0))}"#)
    try folder.write("appsettings.staging.json", #"{"Loops":2\#(json(1))}"#)
    try folder.write("s/Unrelated", "x")
    if given.contains(2) { try folder.write("s/Logging__Level", "\(Self.layers[2].1)\n") }
    let loaded = try await folder.load(
      variables: given.contains(3) ? ["KEELSON__Logging__Level": Self.layers[3].1] : [:],
      options: given.contains(4) ? [SettingName.logLevel: .string(Self.layers[4].1)] : [:])
    #expect(loaded.problems == [])
    let setting = try #require(loaded.configuration.settings[SettingName.logLevel])
    let expected = given.last.map { Self.layers[$0] } ?? ("defaults", "info")
    #expect(setting.layer.name == expected.0)
    #expect(setting.value == .string(expected.1))
    #expect(try loaded.checked().logLevel.rawValue == expected.1)
    #expect(try loaded.checked().loops == 2)
  }

  @Test func originsOfWarmSetsAreReadAndWhatIsNoneIsNamed() async throws {
    try folder.write("appsettings.json", #"{"CacheWarmOrigins":["http://shop:8080"]}"#)
    #expect(try await folder.load().checked().cacheWarmOrigins == [WarmOrigin("http://shop:8080")])
    let options: [String: SettingValue] = [
      SettingName.cacheWarmOrigins: .list([.string("https://a"), .string("https://b/c")])
    ]
    let problems = try await folder.load(options: options).problems
    #expect(problems.map(\.key) == [SettingName.cacheWarmOrigins])
    #expect(problems.first?.message.contains("'https://b/c' has '/c' behind the host") == true)
  }

  @Test func theOlderVariablesGoOn() async throws {
    try folder.write("appsettings.json", #"{"Data":"/file"}"#)
    let older = [
      "KEELSON_DATA": "/older", "KEELSON_ENVIRONMENT": "staging",
      "KEELSON_LIMITS": "connections=7, preface-timeout=2s",
    ]
    let settings = try await folder.load(variables: older).checked()
    #expect(settings.dataFolder == "/older")
    #expect(settings.environment == "staging")
    #expect(settings.limits.transport.maximumConnections == 7)
    #expect(settings.limits.transport.http2.prefaceTimeout == .seconds(2))
    let newer = [
      "KEELSON__Data": "/newer", "KEELSON__LIMITS__connections": "8",
      "keelson__environment": "qa",
    ]
    let both = try await folder.load(variables: older.merging(newer) { $1 }).checked()
    #expect(both.dataFolder == "/newer")
    #expect(both.environment == "qa")
    #expect(both.limits.transport.maximumConnections == 8)
    let over = try await folder.load(
      variables: older.merging(newer) { $1 }, options: [SettingName.data: .string("/option")]
    ).checked()
    #expect(over.dataFolder == "/option")
  }

  /// A variable of any setting, in whatever case, means that setting and no other.
  @Test func eachSettingHasItsVariable() async throws {
    var generator = SystemRandomNumberGenerator()
    for key in ServerSchema.schema.keys {
      let name = ServerSchema.variablePrefix + key.replacing(":", with: "__")
      let written = String(
        name.map { character in
          Bool.random(using: &generator)
            ? Character(character.uppercased()) : Character(character.lowercased())
        })
      let layer = LayerValues(
        environment: [written: "v", "KEELSON_OTHER": "w"], prefix: ServerSchema.variablePrefix,
        schema: ServerSchema.schema)
      #expect(layer.values.mapValues(\.source) == [key: written])
    }
  }

  // MARK: Environment

  @Test(arguments: [
    (nil, nil, nil, nil, "development", "default"),
    ("base", nil, nil, nil, "base", "appsettings.json"),
    ("base", "older", nil, nil, "older", "KEELSON_ENVIRONMENT"),
    ("base", "older", "newer", nil, "newer", "KEELSON__Environment"),
    ("base", "older", "newer", "option", "option", "--option"),
    (nil, nil, nil, "option", "option", "--option"),
  ])
  func theEnvironmentIsDetected(
    base: String?, older: String?, newer: String?, option: String?, name: String, source: String
  ) async throws {
    try folder.write("appsettings.json", base.map { #"{"Environment":"\#($0)"}"# } ?? "{}")
    try folder.write("appsettings.\(name).json", #"{"Loops":3}"#)
    var variables: [String: String] = [:]
    variables["KEELSON_ENVIRONMENT"] = older
    variables["KEELSON__Environment"] = newer
    let loaded = try await folder.load(
      variables: variables, options: option.map { [SettingName.environment: .string($0)] } ?? [:])
    #expect(loaded.environment == name)
    #expect(loaded.environmentSource.hasSuffix(source))
    #expect(
      loaded.files.map { $0.split(separator: "/").last } == [
        "appsettings.json", "appsettings.\(name).json",
      ])
    let settings = try loaded.checked()
    #expect(settings.environment == name)
    #expect(settings.loops == 3)
  }

  @Test func theFileOfAnEnvironmentMayBeWrittenAsDotNetDoes() async throws {
    try folder.write("appsettings.Production.json", #"{"Loops":3}"#)
    let loaded = try await folder.load(variables: ["KEELSON_ENVIRONMENT": "production"])
    #expect(try loaded.checked().loops == 3)
  }

  // MARK: Files

  @Test func aFileMayBeNamed() async throws {
    let file = try folder.write("keelson.json", #"{"Loops":2,"Data":"/x"}"#)
    try folder.write("keelson.qa.json", #"{"Loops":3}"#)
    let loaded = try await SettingsLoader(
      path: file, variables: ["KEELSON_ENVIRONMENT": "qa"]
    ).load()
    #expect(try loaded.checked().loops == 3)
    #expect(try loaded.checked().dataFolder == "/x")
  }

  @Test func whatWasNamedHasToBeThere() async throws {
    for path in ["\(folder.path)", "\(folder.path)/none", "\(folder.path)/none.json"] {
      let loaded = try await SettingsLoader(path: path, variables: [:]).load()
      #expect(loaded.problems.map(\.rule) == ["readable"])
    }
    // The working folder of the tests has none, and need not.
    let loaded = try await SettingsLoader(path: nil, variables: [:]).load()
    #expect(loaded.problems.isEmpty && loaded.files.isEmpty)
  }

  @Test(arguments: [
    ("{\n  \"Loops\": 2,\n}", "line 3"), ("[]", "JSON object"), ("", "line 1"),
    ("{\"Loops\": 1} x", "follows"),
  ])
  func whatIsNoJSONIsToldWithItsLine(text: String, words: String) async throws {
    try folder.write("appsettings.json", text)
    let problem = try #require(try await folder.load().problems.first)
    #expect(problem.rule == "syntax")
    #expect(problem.source == "\(folder.path)/appsettings.json")
    #expect(problem.message.contains(words))
  }

  @Test func aByteOrderMarkIsSkipped() async throws {
    try folder.write("appsettings.json", "\u{FEFF}{\"Loops\": 2}")
    #expect(try await folder.load().checked().loops == 2)
  }

  // MARK: Problems

  @Test func everyProblemIsToldAtOnce() async throws {
    try folder.write(
      "appsettings.json",
      """
      {"Loops": 0, "Lissten": [], "Tls": {"KeyFile": "k"}, "Reflection": "maybe",
       "Listen": ["0.0.0.0:1", 7, "nonsense"], "Limits": {"conections": 1, "connections": 0},
       "Logging": {"Level": "loud"}, "Environment": "no such name!"}
      """)
    let loaded = try await folder.load(variables: ["KEELSON__DrainTimeout": "soon"])
    let found = Set(loaded.problems.map { "\($0.key) \($0.rule)" })
    #expect(
      found == [
        "Loops minimum", "Lissten known-key", "Tls:KeyFile required", "Reflection type",
        "Listen address", "Listen type", "Limits:conections known-key",
        "Limits:connections minimum", "Logging:Level allowed-values", "Environment pattern",
        "DrainTimeout type",
      ])
    let text = SettingsError(loaded.problems).description
    #expect(text.hasPrefix("The configuration has \(loaded.problems.count) errors:\n"))
    #expect(text.contains("(did you mean 'Listen'?)"))
    #expect(text.contains("(did you mean 'Limits:connections'?)"))
    #expect(text.contains("KEELSON__DrainTimeout: DrainTimeout: has to be a duration"))
    #expect(throws: SettingsError.self) { try loaded.checked() }
  }

  @Test func settingsThatNeedOneAnotherAreTold() async throws {
    let cases: [(String, [String])] = [
      (#"{"Tls":{"CertificateFile":"c"}}"#, ["Tls:CertificateFile"]),
      (#"{"Tls":{"ClientCaFile":"c"}}"#, ["Tls:ClientCaFile"]),
      (
        #"{"Tls":{"CertificateFile":"c","KeyFile":"k","ClientAuthentication":"required"}}"#,
        ["Tls:ClientAuthentication"]
      ),
      (
        #"{"Secrets":{"Vault":{"TokenFile":"t"},"Azure":{"Tenant":"t"}}}"#,
        ["Secrets:Vault:TokenFile", "Secrets:Azure:Tenant"]
      ),
      (#"{"Secrets":{"Vault":{"Address":"https://v"}}}"#, ["Secrets:Vault:Address"]),
      (
        #"{"Secrets":{"Azure":{"Vault":"https://v"}}}"#,
        ["Secrets:Azure:Vault", "Secrets:Azure:Vault"]
      ),
      (#"{"Encryption":{"VaultKey":"k"}}"#, ["Encryption:VaultKey"]),
      (#"{"Encryption":{"Keys":{"a":"short"}}}"#, ["Encryption:Keys:a"]),
    ]
    for (text, keys) in cases {
      try folder.write("appsettings.json", text)
      #expect(try await folder.load().problems.map(\.key) == keys)
    }
  }

  @Test(arguments: ["mysql://u:marked-secret@h/d", "postgres://u:marked-secret@h/d?bogus=1"])
  func anAddressOfADatabaseThatIsNoneIsTold(url: String) async throws {
    let good = "postgres://u:p@127.0.0.1:5432/d?sslmode=disable"
    for key in [SettingName.database, SettingName.databaseOwner] {
      var options = [SettingName.database: SettingValue.string(good)]
      options[key] = .string(url)
      let problems = try await folder.load(options: options).problems
      #expect(problems.map(\.key) == [key])
      #expect(!SettingsError(problems).description.contains("marked-secret"))
    }
    #expect(try await folder.load(options: [SettingName.database: .string(good)]).problems == [])
  }

  @Test func anOwnerOfNoDatabaseIsTold() async throws {
    let options = [SettingName.databaseOwner: SettingValue.string("postgres://u:p@127.0.0.1/d")]
    let problems = try await folder.load(options: options).problems
    #expect(problems.map(\.key) == [SettingName.databaseOwner])
    #expect(problems.map(\.rule) == ["required"])
  }

  @Test func aStoreThatCannotBeReadPreventsTheStartUnlessItIsOptional() async throws {
    func write(_ optional: Bool) throws {
      try folder.write(
        "appsettings.json",
        #"{"Secrets":{"Files":{"Folder":"\#(folder.path)/none","Optional":\#(optional)}}}"#)
    }
    try write(false)
    let problem = try #require(try await folder.load().problems.first)
    #expect(problem.message.contains("\(folder.path)/none is not there"))
    #expect(problem.rule == "missing")
    try write(true)
    #expect(try await folder.load().problems.isEmpty)
  }

  // MARK: Secrets

  @Test func secretsDoNotShow() async throws {
    try folder.write("s/Secrets__Azure__ClientSecret", "marked-secret-1")
    try folder.write("s/Data", "marked-secret-2")
    try folder.write("s/Loops", "marked-secret-3")
    try folder.write(
      "appsettings.json",
      """
      {"Secrets":{"Files":{"Folder":"\(folder.path)/s"},
       "Azure":{"Vault":"https://u:marked-secret-6@v","Proxy":"marked-secret-7"}},
       "Encryption":{"Keys":{"a":"marked-secret-4"},"CurrentKey":["marked-no-secret"]}}
      """)
    let loaded = try await folder.load(variables: [
      "KEELSON__Secrets__Vault__Token": "marked-secret-5"
    ])
    for key in loaded.configuration.settings.keys {
      #expect(!loaded.shownValue(of: key).contains("marked"))
    }
    #expect(loaded.shownValue(of: SettingName.data) == SecretValue.mask)
    #expect(loaded.settings.dataFolder == "marked-secret-2")
    let told = SettingsError(loaded.problems).description
    #expect(told.contains("Loops") && told.contains("Encryption:Keys:a"))
    #expect(!told.contains("marked-secret"))
    let events =
      "\(SettingsEvent.refused(reason: "r", problems: loaded.problems))"
      + "\(SettingsEvent.loaded(loaded))"
    #expect(!events.contains("marked-secret"))
  }

  // MARK: The schema itself

  @Test func theSchemaIsSound() {
    #expect(ServerSchema.schema.problems().isEmpty)
    for key in ServerSchema.options.keys { #expect(ServerSchema.schema.keys.contains(key)) }
    for rule in ServerSchema.schema.rules { #expect(!rule.description.isEmpty) }
  }

  @Test func withoutAnythingTheDefaultsAreThoseOfTheSettings() async throws {
    let settings = try await folder.load().checked()
    let defaults = ServerSettings()
    #expect(settings.listen == defaults.listen)
    #expect(settings.dataFolder == defaults.dataFolder)
    #expect(settings.environment == defaults.environment)
    #expect(settings.logLevel == defaults.logLevel)
    #expect(settings.drainGrace == defaults.drainGrace)
    #expect(settings.servesReflection && !settings.allowsInsecureRemote)
    #expect((settings.loops, settings.tls == nil) == (nil, true))
    for limit in ServerLimits.all {
      #expect(limit.text(in: settings.limits) == limit.defaultText)
    }
  }

  /// Each limit's default and both ends of its range go through the schema to its place.
  @Test func eachLimitIsASetting() async throws {
    for limit in ServerLimits.all {
      let unit =
        switch limit.place {
        case .count, .size: ""
        case .duration, .optionalDuration: "ms"
        }
      var limits = ServerLimits()
      try limits.set("\(limit.name)=\(limit.range.upperBound)\(unit)")
      let text = limit.text(in: limits)
      let loaded = try await folder.load(variables: ["KEELSON__Limits__\(limit.name)": text])
      #expect(loaded.problems == [])
      #expect(limit.text(in: loaded.settings.limits) == text)
    }
  }

  /// The table that admins read is the one that the server has.
  @Test func theDocumentHasEachSetting() throws {
    let repository = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(
      contentsOf: repository.appending(path: "docs/operations.md"), encoding: .utf8)
    let section = try #require(text.split(separator: "\n## Settings\n").last)
      .split(separator: "\n## ")[0]
    let rows = section.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(String.init)
    let expected = ServerSchema.rows.map { row in
      func code(_ text: String) -> String { text.isEmpty ? "" : "`\(text)`" }
      return "| \(code(row.key)) | \(code(row.option)) | \(row.type) | \(code(row.defaultValue)) "
        + "| \(row.what) |"
    }
    #expect(rows == expected)
  }
}
