import Foundation
import KeelsonAPI
import KeelsonConfiguration
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonCrypto
import KeelsonSQLite
import KeelsonStore
import KeelsonTransport
import Synchronization
import Testing

/// A configuration service on a database of its own, called through the in-process transport.
final class ConfigurationServer: Sendable {
  typealias API = KeelsonConfigurationV1

  let folder: String
  let database: any Database
  let service: ConfigurationService
  let client: API.ConfigurationServiceClient
  let sources: FakeSources

  static let keyBytes = [UInt8](repeating: 7, count: 32)

  init(
    folder: String, limits: ConfigurationLimits = .init(), sources: FakeSources = FakeSources(),
    keys: (any KeyEncryptionKeys)?
  ) async throws {
    self.folder = folder
    self.sources = sources
    database = try SQLiteDatabase(SQLiteConfiguration(folder: folder))
    try await database.migrate([ConfigurationMigrations.all])
    service = try ConfigurationService(
      database: database, environment: "test", limits: limits, sources: sources, keys: keys,
      logger: .silent)
    try await service.start()
    client = .init(channel: InProcessChannel(routes: service.routes))
  }

  func stop() async {
    service.stop()
    await database.close()
  }

  static func temporaryFolder() -> String {
    NSTemporaryDirectory() + "keelson-configuration-" + UUID().uuidString
  }

  static func keys(_ id: String = "first") throws -> LocalKeys {
    try LocalKeys([id: keyBytes], currentID: id)
  }

  static func run(
    limits: ConfigurationLimits = .init(), sources: FakeSources = FakeSources(),
    _ body: (ConfigurationServer) async throws -> Void
  ) async throws {
    let folder = temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let server = try await ConfigurationServer(
      folder: folder, limits: limits, sources: sources, keys: keys())
    do {
      try await body(server)
    } catch {
      await server.stop()
      throw error
    }
    await server.stop()
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
