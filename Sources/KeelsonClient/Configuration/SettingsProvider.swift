import KeelsonConfigurationRules
public import KeelsonCore

/// Settings in the shape of swift-configuration's `ConfigProvider`: look up now, fetch, watch a
/// value, a snapshot, watch snapshots. An adapter makes it one; docs/client.md has it.
///
/// Keys are given by their parts, as its keys are: `["database", "url"]`, and match settings
/// whatever their case: of several that differ in case only, the one that is written so, else the
/// first in order.
public struct SettingsProvider: Sendable {
  let settings: ApplicationSettings

  /// What kind of value is asked for.
  public enum ValueType: String, Sendable, Hashable {
    case string, int, double, bool, bytes
    case stringArray, intArray, doubleArray, boolArray, byteChunkArray
  }

  /// A value of the kind that was asked for. Bytes stand in settings as base64.
  public enum Content: Sendable, Hashable {
    case string(String)
    case int(Int)
    case double(Double)
    case bool(Bool)
    case bytes([UInt8])
    case stringArray([String])
    case intArray([Int])
    case doubleArray([Double])
    case boolArray([Bool])
    case byteChunkArray([[UInt8]])
  }

  /// What a look-up has found.
  public struct Lookup: Sendable, Hashable {
    /// The setting's key as the server knows it.
    public var encodedKey: String
    /// nil: there is no such setting.
    public var content: Content?
    /// Whether it is not to be shown or logged.
    public var isSecret: Bool
  }

  /// All settings as they were at one moment.
  public struct Snapshot: Sendable, Hashable {
    /// For logs and error messages.
    public let providerName: String
    public let settings: SettingsSnapshot

    /// - Throws: as ``SettingsProvider/value(forKey:type:)``.
    public func value(forKey key: [String], type: ValueType) throws -> Lookup {
      try settings.lookUp(key, type)
    }
  }

  /// For logs and error messages.
  public var providerName: String { "Keelson[\(settings.application)]" }

  /// The value as it is in memory.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when the setting is of another kind.
  public func value(forKey key: [String], type: ValueType) throws -> Lookup {
    try settings.snapshot.lookUp(key, type)
  }

  /// The value as the server has it now.
  ///
  /// - Throws: as ``value(forKey:type:)``, and ``RPCError`` when the server cannot be asked or
  ///   refuses.
  public func fetchValue(forKey key: [String], type: ValueType) async throws -> Lookup {
    let (name, setting) = try await settings.fetch(key.joined(separator: ":"))
    return try Lookup(name, setting, type)
  }

  /// Calls a handler with the value now and each later one.
  public func watchValue<Return: ~Copyable>(
    forKey key: [String], type: ValueType,
    updatesHandler: (Updates<Result<Lookup, RPCError>>) async throws -> Return
  ) async throws -> Return {
    let changes = settings.changes
    return try await updatesHandler(
      Updates(changes: changes) { [settings] in
        do {
          return .success(try settings.snapshot.lookUp(key, type))
        } catch let error as RPCError {
          return .failure(error)
        } catch {
          return .failure(RPCError(.unknown, "\(error)"))
        }
      })
  }

  /// All settings as they are now.
  public func snapshot() -> Snapshot {
    Snapshot(providerName: providerName, settings: settings.snapshot)
  }

  /// Calls a handler with all settings now and after each change.
  public func watchSnapshot<Return: ~Copyable>(
    updatesHandler: (Updates<Snapshot>) async throws -> Return
  ) async throws -> Return {
    let changes = settings.changes
    return try await updatesHandler(Updates(changes: changes) { snapshot() })
  }

  /// A value now, and each later one that differs from the one before.
  public struct Updates<Element: Sendable & Hashable>: AsyncSequence, Sendable {
    public typealias Failure = Never

    let changes: SettingsChanges
    let current: @Sendable () -> Element

    public func makeAsyncIterator() -> AsyncIterator {
      AsyncIterator(changes: changes.makeAsyncIterator(), current: current)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
      var changes: SettingsChanges.AsyncIterator
      let current: @Sendable () -> Element
      var last: Element?

      public mutating func next() async -> Element? {
        await next(isolation: #isolation)
      }

      public mutating func next(isolation actor: isolated (any Actor)?) async -> Element? {
        guard let known = last else {
          last = current()
          return last
        }
        while await changes.next(isolation: actor) != nil {
          let value = current()
          guard value != known else { continue }
          last = value
          return value
        }
        return nil
      }
    }
  }
}

extension SettingsSnapshot {
  fileprivate func lookUp(
    _ parts: [String], _ type: SettingsProvider.ValueType
  ) throws -> SettingsProvider.Lookup {
    let written = parts.joined(separator: ":")
    let key = key(matching: written) ?? written
    return try SettingsProvider.Lookup(key, settings[key], type)
  }
}

extension SettingsProvider.Lookup {
  fileprivate init(
    _ key: String, _ setting: SettingsSnapshot.Setting?, _ type: SettingsProvider.ValueType
  ) throws {
    let content = setting?.value?.content(type)
    if content == nil, let value = setting?.value {
      throw RPCError(
        .invalidArgument, "The setting '\(key)' was asked for as \(type), but is \(value.kind).")
    }
    self.init(encodedKey: key, content: content, isSecret: setting?.isSensitive ?? false)
  }
}

extension SettingValue {
  fileprivate func content(_ type: SettingsProvider.ValueType) -> SettingsProvider.Content? {
    switch type {
    case .string: .string(text)
    case .bytes: bytes.map { .bytes($0) }
    case .int: int.map { .int($0) }
    case .double: double.map { .double($0) }
    case .bool: bool.map { .bool($0) }
    case .stringArray: array(\.text).map { .stringArray($0) }
    case .intArray: array(\.int).map { .intArray($0) }
    case .doubleArray: array(\.double).map { .doubleArray($0) }
    case .boolArray: array(\.bool).map { .boolArray($0) }
    case .byteChunkArray: array(\.bytes).map { .byteChunkArray($0) }
    }
  }

  private var bool: Bool? { Bool(setting: self) }
  private var int: Int? { Int(setting: self) }

  /// A duration is its seconds.
  private var double: Double? {
    if case .duration(let value) = self { return value / .seconds(1) }
    return Double(setting: self)
  }

  private var bytes: [UInt8]? {
    guard case .string(let text) = self else { return nil }
    return Base64.decode(Array(text.utf8).span)
  }

  /// Every element of a list, if each can be had so.
  private func array<Element>(_ one: (SettingValue) -> Element?) -> [Element]? {
    guard case .list(let elements)? = converted(to: .list, readsText: true) else { return nil }
    let found = elements.compactMap { SettingValue($0).flatMap(one) }
    return found.count == elements.count ? found : nil
  }
}
