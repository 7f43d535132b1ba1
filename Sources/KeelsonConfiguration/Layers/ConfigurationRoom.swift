import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

/// The settings of an application in one environment: all layers, and what comes of them. A plain
/// value.
struct ConfigurationRoom: Sendable {
  typealias API = KeelsonConfigurationV1

  /// A setting as it counts.
  struct Entry: Sendable, Hashable {
    enum Content: Sendable, Hashable {
      case value(SettingValue)
      /// Set through the API and sealed.
      case sealed(API.StoredValue)
    }

    var content: Content
    var layer: ConfigurationLayer
    var source = ""
    var isSensitive: Bool
  }

  /// What was read of the layers below the API, and how that went.
  struct Lower: Sendable {
    var sources: [LayerSource] = []
    /// Names their state; empty: there are none.
    var tag = ""
    var loadTime: UnixTime?
    /// Why the last attempt to read them failed.
    var loadError = ""
    /// What was refused at the last reload.
    var refused: [ConfigurationViolation] = []
  }

  private(set) var schema: ConfigurationSchema
  private(set) var lower: Lower
  private(set) var layers: [LayerValues]
  /// What counts of the layers below the API.
  private(set) var base: [String: EffectiveConfiguration.Setting]
  /// What is set through the API.
  private(set) var api: [String: API.StoredSetting]
  private(set) var entries: [String: Entry]
  /// The last change through the API.
  var revision: Int64

  /// - Parameter budget: what comparing the values with the schema may take: of one that was
  ///   accepted, whatever it takes; of one that a caller has just brought, what its request may.
  init(
    schema: ConfigurationSchema, lower: Lower = Lower(), api: [String: API.StoredSetting] = [:],
    revision: Int64 = 0, budget: ValidationBudget = .unlimited
  ) {
    self.schema = schema
    self.lower = lower
    self.api = api
    self.revision = revision
    // What is no object was refused when it was read.
    layers = (try? LayerSource.values(of: lower.sources, schema: schema)) ?? []
    // How large a value may be was checked when it was set; the limit may have been lowered since.
    base =
      EffectiveConfiguration.merging(
        layers, schema: schema, maximumValueBytes: .max, budget: budget
      ).configuration.settings
    entries = base.mapValues(Entry.init)
    for (key, stored) in api {
      entries[key] = entry(stored, budget: budget) ?? base[key].map(Entry.init)
    }
  }

  /// The room with another schema.
  func with(
    schema: ConfigurationSchema, budget: ValidationBudget = .unlimited
  ) -> ConfigurationRoom {
    ConfigurationRoom(schema: schema, lower: lower, api: api, revision: revision, budget: budget)
  }

  /// The room with other layers below the API.
  func with(lower: Lower) -> ConfigurationRoom {
    ConfigurationRoom(schema: schema, lower: lower, api: api, revision: revision)
  }

  mutating func note(_ change: (inout Lower) -> Void) {
    change(&lower)
  }

  /// Takes in what was set, sealed anew and deleted through the API.
  mutating func apply(_ change: API.StoredChange) {
    for setting in change.settings {
      api[setting.key] = setting
      entries[setting.key] = entry(setting.key)
    }
    for key in change.removedKeys {
      api[key] = nil
      entries[key] = entry(key)
    }
  }

  private func entry(_ key: String) -> Entry? {
    api[key].flatMap { entry($0) } ?? base[key].map(Entry.init)
  }

  /// What a setting of the API comes to; nil when it breaks the schema, and so does not count.
  func entry(_ stored: API.StoredSetting, budget: ValidationBudget = .unlimited) -> Entry? {
    switch stored.value?.content {
    case nil: return nil
    case .sealed:
      return Entry(
        content: .sealed(stored.value ?? API.StoredValue()), layer: .api, isSensitive: true)
    case .plain(let plain):
      guard let value = plain.known,
        case .success(let setting) = schema.check(
          stored.key, LayerValue(value), in: .api, maximumValueBytes: .max, budget: budget)
      else { return nil }
      return Entry(setting)
    }
  }

  /// Everything that is wrong with the settings.
  ///
  /// - Parameters:
  ///   - open: the value of a secret; nil when it cannot be opened, and so not checked.
  ///   - secrets: keys whose values are secrets whatever this room's schema says.
  ///   - checksSecrets: whether their values, where a layer has them, are checked at all.
  ///   - budget: what the checks of the request may take.
  func violations(
    open: (API.StoredSetting) -> SettingValue?, secrets: Set<String> = [],
    checksSecrets: Bool = true, maximumValueBytes: Int, budget: ValidationBudget
  ) -> [ConfigurationViolation] {
    var values: [String: LayerValue] = [:]
    var unseen: Set<String> = []
    for (key, stored) in api {
      if case .plain(let plain)? = stored.value?.content {
        values[key] = plain.known.map { LayerValue($0) }
      } else if checksSecrets || !secrets.contains(key), let value = open(stored) {
        values[key] = LayerValue(value, isSensitive: true)
      } else {
        unseen.insert(key)
      }
    }
    var all = layers + [LayerValues(.api, values)]
    for index in all.indices {
      for key in secrets where all[index].values[key] != nil {
        all[index].values[key]?.isSensitive = true
        if !checksSecrets {
          all[index].values[key] = nil
          unseen.insert(key)
        }
      }
    }
    return EffectiveConfiguration.merging(
      all, schema: schema, elsewhere: unseen,
      maximumValueBytes: maximumValueBytes, budget: budget
    ).violations
  }

  /// The keys whose values are secrets.
  var secretKeys: Set<String> {
    var keys = Set(entries.filter(\.value.isSensitive).keys)
    for layer in layers {
      for (key, value) in layer.values
      where value.isSensitive || schema.isSensitive(key) {
        keys.insert(key)
      }
    }
    for (key, stored) in api
    where stored.value?.isSealed == true || schema.isSensitive(key) {
      keys.insert(key)
    }
    return keys
  }

  /// The keys whose setting is another than in a room before.
  func keys(differingFrom other: ConfigurationRoom) -> [String] {
    Set(entries.keys).union(other.entries.keys).filter { entries[$0] != other.entries[$0] }
      .sorted()
  }
}

extension ConfigurationRoom.Entry {
  init(_ setting: EffectiveConfiguration.Setting) {
    self.init(
      content: .value(setting.value), layer: setting.layer, source: setting.source,
      isSensitive: setting.isSensitive)
  }
}
