import FoundationEssentials
public import KeelsonAPI
public import KeelsonConfigurationRules
public import KeelsonCore

/// All settings of an application in an environment as of one revision. An immutable value.
public struct SettingsSnapshot: Sendable, Hashable {
  /// One setting.
  public struct Setting: Sendable, Hashable {
    /// nil for a secret that was not asked for, or that the server cannot open.
    public var value: SettingValue?
    /// The layer that gave it.
    public var layer: ConfigurationLayer
    public var isSensitive: Bool

    public init(value: SettingValue?, layer: ConfigurationLayer, isSensitive: Bool = false) {
      self.value = value
      self.layer = layer
      self.isSensitive = isSensitive
    }
  }

  /// By key, `Database:Url` for example.
  public internal(set) var settings: [String: Setting]
  /// Everything up to and including this revision is in here.
  public internal(set) var revision: Int64

  public init(settings: [String: Setting] = [:], revision: Int64 = 0) {
    self.settings = settings
    self.revision = revision
  }

  /// The keys, in order.
  public var keys: [String] { settings.keys.sorted() }

  public subscript(key: String) -> SettingValue? { settings[key]?.value }

  // MARK: Typed reads

  /// The value as a boolean; the default where there is none or it is no boolean.
  public func bool(_ key: String, default defaultValue: Bool) -> Bool {
    if case .boolean(let value)? = self[key]?.converted(to: .boolean, readsText: true) {
      return value
    }
    return defaultValue
  }

  /// The value as a whole number; sizes are numbers of bytes.
  public func integer(_ key: String, default defaultValue: Int) -> Int {
    if case .integer(let value)? = self[key]?.converted(to: .integer, readsText: true) {
      return Int(value)
    }
    if case .integer(let value)? = self[key]?.converted(to: .size, readsText: true) {
      return Int(value)
    }
    return defaultValue
  }

  /// The value as a number.
  public func number(_ key: String, default defaultValue: Double) -> Double {
    if case .number(let value)? = self[key]?.converted(to: .number, readsText: true) {
      return value
    }
    return defaultValue
  }

  /// The value as text: a string as it is, anything else as it would be written.
  public func string(_ key: String, default defaultValue: String) -> String {
    self[key]?.text ?? defaultValue
  }

  /// The value as a length of time.
  public func duration(_ key: String, default defaultValue: Duration) -> Duration {
    if case .duration(let value)? = self[key]?.converted(to: .duration, readsText: true) {
      return value
    }
    return defaultValue
  }

  /// The value as a list of texts.
  public func strings(_ key: String, default defaultValue: [String]) -> [String] {
    guard case .list(let values)? = self[key]?.converted(to: .list, readsText: true) else {
      return defaultValue
    }
    return values.map { SettingValue($0)?.text ?? "" }
  }

  /// Decodes a value, or all settings of a section, as a type of yours.
  ///
  /// - Parameter key: a setting, or a section: `Database` for `Database:Url` and
  ///   `Database:Timeout`; empty: everything.
  /// - Returns: nil when there is nothing at the key.
  /// - Throws: `DecodingError` when what is there does not fit the type.
  public func decode<Value: Decodable>(_ type: Value.Type, at key: String = "") throws -> Value? {
    guard let json = json(at: key) else { return nil }
    return try JSONDecoder().decode(type, from: Data(json.text.utf8))
  }

  /// A value, or all settings of a section as an object; nil when there is nothing at the key.
  public func json(at key: String) -> JSONValue? {
    if let value = self[key] { return value.json }
    var tree = JSONValue.object([:])
    var isEmpty = true
    for (name, setting) in settings {
      guard let value = setting.value else { continue }
      let path: Substring
      if key.isEmpty {
        path = name[...]
      } else {
        guard name.hasPrefix(key + ":") else { continue }
        path = name.dropFirst(key.count + 1)
      }
      tree = tree.inserting(value.json, at: path.split(separator: ":")[...])
      isEmpty = false
    }
    return isEmpty ? nil : tree
  }
}

extension JSONValue {
  fileprivate func inserting(_ value: JSONValue, at path: ArraySlice<Substring>) -> JSONValue {
    guard let first = path.first else { return value }
    var members: [String: JSONValue] = [:]
    if case .object(let known) = self { members = known }
    let name = String(first)
    members[name] = (members[name] ?? .null).inserting(value, at: path.dropFirst())
    return .object(members)
  }
}

extension SettingsSnapshot.Setting {
  init(_ message: KeelsonConfigurationV1.EffectiveSetting) {
    self.init(
      value: message.value.flatMap(SettingValue.init), layer: ConfigurationLayer(message.layer),
      isSensitive: message.sensitive)
  }
}

extension SettingValue {
  /// The value of a message; nil when it is of a kind that this library does not know.
  public init?(_ message: KeelsonConfigurationV1.SettingValue) {
    switch message.kind {
    case nil: return nil
    case .booleanValue(let value): self = .boolean(value)
    case .integerValue(let value): self = .integer(value)
    case .numberValue(let value): self = .number(value)
    case .stringValue(let value): self = .string(value)
    case .durationValue(let value): self = .duration(value.clampedDuration)
    case .listValue(let value): self = .list(value.array)
    case .objectValue(let value): self = .object(value.object)
    }
  }

  /// The value as the calls of ``KeelsonClient/Admin/configuration`` take it.
  public var message: KeelsonConfigurationV1.SettingValue {
    let kind: KeelsonConfigurationV1.SettingValue.Kind =
      switch self {
      case .boolean(let value): .booleanValue(value)
      case .integer(let value): .integerValue(value)
      case .number(let value): .numberValue(value)
      case .string(let value): .stringValue(value)
      case .duration(let value): .durationValue(GoogleProtobuf.Duration(value))
      case .list(let values): .listValue(GoogleProtobuf.ListValue(values))
      case .object(let members): .objectValue(GoogleProtobuf.Struct(members))
      }
    return KeelsonConfigurationV1.SettingValue(kind: kind)
  }
}

extension ConfigurationLayer {
  init(_ message: KeelsonConfigurationV1.Layer) {
    switch message {
    case .defaults: self = .defaults
    case .file: self = .file
    case .environmentFile: self = .environmentFile
    case .secretStore: self = .secretStore
    case .environmentVariables: self = .environmentVariables
    case .api, .unspecified, .unrecognized: self = .api
    }
  }
}
