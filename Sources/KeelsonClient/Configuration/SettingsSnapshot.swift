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
  public private(set) var settings: [String: Setting]
  /// Everything up to and including this revision is in here.
  public internal(set) var revision: Int64
  /// The keys by what they are in lower case; of several the first in order.
  private var foldedKeys: [String: String] = [:]

  public init(settings: [String: Setting] = [:], revision: Int64 = 0) {
    self.settings = settings
    self.revision = revision
    foldedKeys.reserveCapacity(settings.count)
    for key in settings.keys { addFolded(key) }
  }

  /// The keys, in order.
  public var keys: [String] { settings.keys.sorted() }

  public subscript(key: String) -> SettingValue? { settings[key]?.value }

  // MARK: Keys

  /// The key of a setting that is written in any case: the very one, else the first in order.
  func key(matching key: String) -> String? {
    settings[key] == nil ? foldedKeys[key.lowercased()] : key
  }

  mutating func set(_ setting: Setting, at key: String) {
    if settings.updateValue(setting, forKey: key) == nil { addFolded(key) }
  }

  mutating func remove(_ key: String) {
    guard settings.removeValue(forKey: key) != nil else { return }
    let folded = key.lowercased()
    guard foldedKeys[folded] == key else { return }
    foldedKeys[folded] = settings.keys.filter { $0.lowercased() == folded }.min()
  }

  private mutating func addFolded(_ key: String) {
    let folded = key.lowercased()
    foldedKeys[folded] = foldedKeys[folded].map { min($0, key) } ?? key
  }

  // MARK: Typed reads

  /// The value as a type, for who has to tell a wrong one from none.
  ///
  /// ```swift
  /// let limit = try settings.value("Checkout:Limit", as: Int.self) ?? 10
  /// ```
  ///
  /// - Returns: nil when there is no such setting, or it is a secret that was not asked for.
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when it cannot be read as the type; its value
  ///   does not stand in the message.
  public func value<Value: SettingReadable>(
    _ key: String, as type: Value.Type = Value.self
  ) throws(RPCError) -> Value? {
    guard let setting = self[key] else { return nil }
    guard let value = Value(setting: setting) else {
      throw RPCError(
        .invalidArgument,
        "The setting '\(key)' is \(setting.kind) that cannot be read as \(Value.settingKind).")
    }
    return value
  }

  /// The value as a boolean; the default where there is none or it is no boolean.
  public func bool(_ key: String, default defaultValue: Bool) -> Bool {
    self[key].flatMap(Bool.init(setting:)) ?? defaultValue
  }

  /// The value as a whole number; sizes are numbers of bytes.
  public func integer(_ key: String, default defaultValue: Int) -> Int {
    self[key].flatMap(Int.init(setting:)) ?? defaultValue
  }

  /// The value as a number.
  public func number(_ key: String, default defaultValue: Double) -> Double {
    self[key].flatMap(Double.init(setting:)) ?? defaultValue
  }

  /// The value as text: a string as it is, anything else as it would be written.
  public func string(_ key: String, default defaultValue: String) -> String {
    self[key]?.text ?? defaultValue
  }

  /// The value as a length of time.
  public func duration(_ key: String, default defaultValue: Duration) -> Duration {
    self[key].flatMap(Duration.init(setting:)) ?? defaultValue
  }

  /// The value as a list of texts.
  public func strings(_ key: String, default defaultValue: [String]) -> [String] {
    self[key].flatMap([String].init(setting:)) ?? defaultValue
  }

  /// Decodes a value, or all settings of a section, as a type of yours.
  ///
  /// - Parameter key: a setting, or a section: `Database` for `Database:Url` and
  ///   `Database:Timeout`; empty: everything.
  /// - Returns: nil when there is nothing at the key.
  /// - Throws: `DecodingError` when what is there does not fit the type.
  public func decode<Value: Decodable>(_ type: Value.Type, at key: String = "") throws -> Value? {
    guard let tree = tree(at: key) else { return nil }
    return try JSONDecoder().decode(type, from: Data(tree.text.utf8))
  }

  /// A value, or all settings of a section as an object; nil when there is nothing at the key.
  /// Whole numbers beyond 2^53 are the nearest double.
  public func json(at key: String) -> JSONValue? { tree(at: key)?.json }

  private func tree(at key: String) -> SettingsTree? {
    if let value = self[key] { return .value(value) }
    var tree: SettingsTree?
    for (name, setting) in settings {
      guard let value = setting.value else { continue }
      let path: Substring
      if key.isEmpty {
        path = name[...]
      } else {
        guard name.hasPrefix(key + ":") else { continue }
        path = name.dropFirst(key.count + 1)
      }
      tree = (tree ?? .section([:])).inserting(value, at: path.split(separator: ":")[...])
    }
    return tree
  }
}

/// Settings as the sections that their keys say.
private enum SettingsTree {
  case value(SettingValue)
  case section([String: SettingsTree])

  func inserting(_ value: SettingValue, at path: ArraySlice<Substring>) -> SettingsTree {
    guard let first = path.first else { return .value(value) }
    var members: [String: SettingsTree] = [:]
    if case .section(let known) = self { members = known }
    let name = String(first)
    members[name] = (members[name] ?? .section([:])).inserting(value, at: path.dropFirst())
    return .section(members)
  }

  var json: JSONValue {
    switch self {
    case .value(let value): value.json
    case .section(let members): .object(members.mapValues(\.json))
    }
  }

  /// As JSON text, whole numbers to the last digit.
  var text: String {
    switch self {
    case .value(.integer(let value)): String(value)
    case .value(let value): value.json.text
    case .section(let members):
      "{" + members.map { "\(JSONValue.string($0).text):\($1.text)" }.joined(separator: ",") + "}"
    }
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
