package import KeelsonAPI
import KeelsonAuditTrail
import KeelsonConfigurationRules
package import KeelsonCore
package import KeelsonCrypto
package import KeelsonStore
import Synchronization

/// `keelson.configuration.v1.ConfigurationService`. Source: SYS-127 to SYS-132.
///
/// The methods stand in extensions by what they are about: reading (this file), changes, history,
/// snapshots, schemas, layers, watching, keys.
package final class ConfigurationService: KeelsonConfigurationV1.ConfigurationServiceHandler {
  package typealias API = KeelsonConfigurationV1

  let database: any Database
  /// The environment that an empty name in a request means.
  let environment: String
  private let currentLimits: Mutex<ConfigurationLimits>
  let sources: any ConfigurationSources
  let dataKeys: DataKeys
  let book = ConfigurationBook()
  let watches: ConfigurationWatches
  let telemetry: TelemetryEvents?
  /// One reload of layers after the other.
  let turn = Turn()
  let logger: Logger
  /// Mixed into what names the state of lower layers that hold secrets, so that nothing of them
  /// can be guessed from it.
  let salt: [UInt8]

  /// - Parameters:
  ///   - keys: what wraps the data keys; nil: the server cannot keep secrets.
  ///   - telemetry: where dry runs are told.
  package init(
    database: any Database, environment: String, limits: ConfigurationLimits = .init(),
    sources: any ConfigurationSources = NoConfigurationSources(),
    keys: (any KeyEncryptionKeys)? = nil, telemetry: TelemetryEvents? = nil, logger: Logger
  ) throws {
    self.database = database
    self.environment = environment
    currentLimits = Mutex(limits)
    self.sources = sources
    dataKeys = DataKeys(wrapping: keys)
    watches = ConfigurationWatches(limits: limits, book: book)
    self.telemetry = telemetry
    self.logger = logger
    salt = try SecureRandom.bytes(SHA256.digestBytes)
  }

  // MARK: Limits

  /// Those that calls are held to.
  var limits: ConfigurationLimits { currentLimits.withLock { $0 } }
  var names: ConfigurationNames { ConfigurationNames(limits: limits) }

  /// Holds calls to other limits from now on. Those of watches stay as they were at the start.
  package func use(_ limits: ConfigurationLimits) {
    currentLimits.withLock { $0 = limits }
  }

  // MARK: Reading

  package func listSettings(_ request: API.ListSettingsRequest, context: ServerContext)
    async throws -> API.ListSettingsResponse
  {
    let scope = try scope(request.application, request.environment)
    if request.keyPrefix.utf8.count > limits.keyBytes {
      throw RPCError.invalidArgument(
        field: "key_prefix",
        "has \(request.keyPrefix.utf8.count) bytes; at most \(limits.keyBytes) are allowed")
    }
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    if request.reveal { try await checkEntitled(context, to: scope) }
    let (room, revision) = book.room(scope)
    let keys = room.entries.filter { key, entry in
      key > page.after && (request.keyPrefix.isEmpty || key.hasPrefix(request.keyPrefix))
        && (request.layer == .unspecified || entry.layer.message == request.layer)
    }.keys.sorted().prefix(page.size + 1)
    if request.reveal { await loadDataKeys(of: scope) }
    let settings = keys.compactMap { setting($0, in: room, scope, reveals: request.reveal) }
    var response = API.ListSettingsResponse()
    response.revision = revision
    (response.settings, response.nextPageToken) = page.cut(settings, by: \.key)
    let revealed = response.settings.filter { $0.sensitive && !$0.masked }.map(\.key)
    if !revealed.isEmpty { try await auditReveal(of: revealed, in: scope, context) }
    return response
  }

  package func getSetting(_ request: API.GetSettingRequest, context: ServerContext) async throws
    -> API.Setting
  {
    let scope = try scope(request.application, request.environment)
    try names.checkKey(request.key, field: "key")
    if request.reveal { try await checkEntitled(context, to: scope, key: request.key) }
    let (room, _) = book.room(scope)
    guard room.entries[request.key] != nil || room.api[request.key] != nil else {
      throw Self.noSetting(request.key, scope)
    }
    if request.reveal, let stored = room.api[request.key], stored.value?.isSealed == true {
      // Here, unlike in a list, a key that is missing is the answer.
      _ = try await withDataKeys(of: scope) {
        try self.dataKeys.open(stored.value, key: stored.key, of: scope)
      }
    }
    var setting =
      setting(request.key, in: room, scope, reveals: request.reveal)
      ?? blank(request.key, room.api[request.key], scope)
    setting.layers = layers(of: request.key, in: room, scope, reveals: request.reveal)
    // Also where the secret is in a layer that does not count.
    if request.reveal {
      try await auditReveal(of: [request.key], in: scope, context)
    }
    return setting
  }

  static func noSetting(_ key: String, _ scope: ConfigurationScope) -> RPCError {
    .notFound(
      "Setting", scope.subject(key), "There is no setting '\(key)' of \(scope) in any layer.")
  }

  /// A setting as it counts; nil when no layer has it.
  func setting(
    _ key: String, in room: ConfigurationRoom, _ scope: ConfigurationScope, reveals: Bool
  ) -> API.Setting? {
    setting(key, room.entries[key], stored: room.api[key], scope, reveals: reveals)
  }

  /// The same of what is known of it.
  ///
  /// - Parameter stored: what is set through the API, whether or not it counts.
  func setting(
    _ key: String, _ entry: ConfigurationRoom.Entry?, stored: API.StoredSetting?,
    _ scope: ConfigurationScope, reveals: Bool
  ) -> API.Setting? {
    guard let entry else { return nil }
    var setting = blank(key, stored, scope)
    setting.layer = entry.layer.message
    setting.source = entry.source
    setting.sensitive = entry.isSensitive
    let value = shown(entry, key: key, of: scope, reveals: reveals)
    setting.masked = value == nil
    setting.value = value ?? .masked
    return setting
  }

  private func blank(
    _ key: String, _ stored: API.StoredSetting?, _ scope: ConfigurationScope
  ) -> API.Setting {
    var setting = API.Setting()
    setting.application = scope.application
    setting.environment = scope.environment
    setting.key = key
    setting.revision = stored?.revision ?? 0
    setting.updateTime = stored.map {
      GoogleProtobuf.Timestamp(UnixTime(microseconds: $0.updateTime))
    }
    setting.updateActor = stored?.actor ?? ""
    setting.etag = etag(setting.revision)
    return setting
  }

  /// A value as it may be shown; nil where it is to be masked.
  func shown(
    _ entry: ConfigurationRoom.Entry, key: String, of scope: ConfigurationScope, reveals: Bool
  ) -> API.SettingValue? {
    guard reveals || !entry.isSensitive else { return nil }
    switch entry.content {
    case .value(let value): return value.message
    case .sealed(let sealed): return try? dataKeys.open(sealed, key: key, of: scope)
    }
  }

  /// What each layer has for a key, the lowest first.
  private func layers(
    of key: String, in room: ConfigurationRoom, _ scope: ConfigurationScope, reveals: Bool
  ) -> [API.LayeredValue] {
    var layers: [API.LayeredValue] = []
    let rule = room.schema.rule(for: key)
    if let value = rule?.defaultValue, rule?.key.isKey == true {
      layers.append(API.LayeredValue(layer: .defaults, value: value.message))
    }
    for layer in room.layers {
      guard let given = layer.values[key] else { continue }
      let isSensitive = given.isSensitive || room.schema.isSensitive(key)
      var layered = API.LayeredValue(layer: layer.layer.message, source: given.source)
      layered.masked = isSensitive && !reveals
      layered.value = layered.masked ? .masked : given.value.message
      let checked = room.schema.check(key, given, in: layer.layer, budget: .unlimited)
      if case .failure = checked { layered.invalid = true }
      layers.append(layered)
    }
    if let stored = room.api[key] {
      var layered = API.LayeredValue(layer: .api)
      let isSensitive = stored.value?.isSealed == true || room.schema.isSensitive(key)
      let value =
        isSensitive && !reveals
        ? nil : try? dataKeys.open(stored.value, key: key, of: scope)
      layered.masked = value == nil
      layered.value = value ?? .masked
      layered.invalid = room.entry(stored) == nil
      layers.append(layered)
    }
    return layers
  }
}
