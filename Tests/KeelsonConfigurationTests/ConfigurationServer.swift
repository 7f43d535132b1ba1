import KeelsonAPI
import KeelsonConfiguration
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// A configuration service on a database of its own, called through the in-process transport.
final class ConfigurationServer: Sendable {
  typealias API = KeelsonConfigurationV1

  private let made: TestDatabase
  var database: any Database { made.database }
  let service: ConfigurationService
  let client: API.ConfigurationServiceClient
  let sources: FakeSources

  static let keyBytes = [UInt8](repeating: 7, count: 32)

  init(
    on made: TestDatabase, limits: ConfigurationLimits = .init(),
    sources: FakeSources = FakeSources(), keys: (any KeyEncryptionKeys)?
  ) async throws {
    self.made = made
    self.sources = sources
    try await made.database.migrate([ConfigurationMigrations.all])
    service = try ConfigurationService(
      database: made.database, environment: "test", limits: limits, sources: sources, keys: keys,
      logger: .silent)
    try await service.start()
    client = .init(channel: InProcessChannel(routes: service.routes))
  }

  /// Stops the service and opens the database anew, for another one.
  func stop() async throws {
    service.stop()
    try await made.reopen()
  }

  static func keys(_ id: String = "first") throws -> LocalKeys {
    try LocalKeys([id: keyBytes], currentID: id)
  }

  /// Runs a body with a server on each engine.
  ///
  /// - Parameter layers: the layers below the API at the start.
  static func run(
    limits: ConfigurationLimits = .init(), layers: [LayerSource] = [],
    _ body: (ConfigurationServer) async throws -> Void
  ) async throws {
    try await TestDatabase.onEachEngine { made in
      let server = try await ConfigurationServer(
        on: made, limits: limits, sources: FakeSources(layers), keys: keys())
      defer { server.service.stop() }
      try await body(server)
    }
  }

  // MARK: Short forms

  @discardableResult
  func set(
    _ key: String, _ value: API.SettingValue.Kind, sensitive: Bool = false, etag: String = ""
  ) async throws -> API.Setting {
    try await client.setSetting(
      .init(
        application: "shop", key: key, value: .init(kind: value), sensitive: sensitive,
        etag: etag))
  }

  func value(_ key: String, reveal: Bool = false) async throws -> API.SettingValue.Kind? {
    try await client.getSetting(.init(application: "shop", key: key, reveal: reveal)).value?.kind
  }

  /// Everything that counts, as `key=value (layer)`.
  func all() async throws -> [String] {
    try await client.listSettings(.init(application: "shop", pageSize: 1_000)).settings.map {
      "\($0.key)=\($0.value?.text ?? "nil")"
    }
  }
}

extension KeelsonConfigurationV1.SettingValue {
  /// For comparing.
  var text: String {
    switch kind {
    case .booleanValue(let value)?: "\(value)"
    case .integerValue(let value)?: "\(value)"
    case .numberValue(let value)?: "\(value)"
    case .stringValue(let value)?: value
    case .durationValue(let value)?: "\(value.seconds)s"
    case .listValue(let value)?: JSONValue.array(value.array).text
    case .objectValue(let value)?: JSONValue.object(value.object).text
    case nil: "nil"
    }
  }
}

/// Layers that a test sets.
final class FakeSources: ConfigurationSources {
  private let layers: Mutex<[ConfigurationScope: [LayerSource]]>
  private let failure = Mutex<RPCError?>(nil)

  init(_ layers: [LayerSource] = []) {
    self.layers = Mutex(layers.isEmpty ? [:] : [Self.scope: layers])
  }

  static let scope = ConfigurationScope(application: "shop", environment: "test")

  var scopes: [ConfigurationScope] { layers.withLock { Array($0.keys) } }

  func load(_ scope: ConfigurationScope) async throws -> [LayerSource] {
    if let error = failure.withLock({ $0 }) { throw error }
    return layers.withLock { $0[scope] ?? [] }
  }

  func changes() -> AsyncStream<ConfigurationScope> { AsyncStream { $0.finish() } }

  func set(_ sources: [LayerSource]) {
    layers.withLock { $0[Self.scope] = sources }
  }

  func fail(_ error: RPCError?) {
    failure.withLock { $0 = error }
  }

  static func file(_ document: JSONValue) -> LayerSource {
    .document(.file, document, source: "appsettings.json")
  }
}

/// The failure of a call.
func failure<Result>(
  _ body: () async throws -> Result, sourceLocation: SourceLocation = #_sourceLocation
) async -> RPCError? {
  await #expect(throws: RPCError.self, sourceLocation: sourceLocation) { try await body() }
}

extension RPCError {
  /// The fields that break rules.
  var fields: [String] {
    guard case .badRequest(let violations)? = details.first else { return [] }
    return violations.map(\.field)
  }
}
