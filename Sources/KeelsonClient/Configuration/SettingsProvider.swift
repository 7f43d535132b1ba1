import KeelsonConfigurationRules
public import KeelsonCore

/// Settings in the shape of swift-configuration's `ConfigProvider`: look up now, fetch, watch a
/// value, a snapshot, watch snapshots. An adapter of a few lines makes it one; docs/client.md has it.
///
/// Keys are given by their parts, as its keys are: `["database", "url"]`, and match settings
/// whatever their case.
public struct SettingsProvider: Sendable {
  let settings: ApplicationSettings

  /// What kind of value is asked for.
  public enum ValueType: Sendable, Hashable {
    case string, int, double, bool, bytes, stringArray, intArray, doubleArray, boolArray
  }

  /// A value of the kind that was asked for.
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

  /// For logs and error messages.
  public var providerName: String { "Keelson[\(settings.application)]" }

  /// The value as it is in memory.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT when the setting is of another kind.
  public func value(forKey key: [String], type: ValueType) throws -> Lookup {
    try settings.snapshot.lookup(key, type)
  }

  /// The value once any settings have arrived.
  ///
  /// - Throws: as ``value(forKey:type:)`` and ``ApplicationSettings/ready()``.
  public func fetchValue(forKey key: [String], type: ValueType) async throws -> Lookup {
    try await settings.ready()
    return try value(forKey: key, type: type)
  }

  /// Calls a handler with the value now and each later one.
  public func watchValue<Return>(
    forKey key: [String], type: ValueType,
    updatesHandler: (Updates<Result<Lookup, RPCError>>) async throws -> Return
  ) async throws -> Return {
    let changes = settings.changes
    return try await updatesHandler(
      Updates(changes: changes) { [settings] in
        do {
          return .success(try settings.snapshot.lookup(key, type))
        } catch let error as RPCError {
          return .failure(error)
        } catch {
          return .failure(RPCError(.unknown, "\(error)"))
        }
      })
  }

  /// All settings as they are now.
  public func snapshot() -> SettingsSnapshot { settings.snapshot }

  /// Calls a handler with all settings now and after each change.
  public func watchSnapshot<Return>(
    updatesHandler: (Updates<SettingsSnapshot>) async throws -> Return
  ) async throws -> Return {
    let changes = settings.changes
    return try await updatesHandler(Updates(changes: changes) { [settings] in settings.snapshot })
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
  fileprivate func lookup(_ parts: [String], _ type: SettingsProvider.ValueType) throws
    -> SettingsProvider.Lookup
  {
    let written = parts.joined(separator: ":")
    let key =
      settings[written] != nil
      ? written : settings.keys.first { $0.lowercased() == written.lowercased() } ?? written
    guard let setting = settings[key], let value = setting.value else {
      return .init(
        encodedKey: key, content: nil, isSecret: settings[key]?.isSensitive ?? false)
    }
    guard let content = value.content(type) else {
      throw RPCError(
        .invalidArgument, "The setting '\(key)' was asked for as \(type), but is \(value.kind).")
    }
    return .init(encodedKey: key, content: content, isSecret: setting.isSensitive)
  }
}

extension SettingValue {
  fileprivate func content(_ type: SettingsProvider.ValueType) -> SettingsProvider.Content? {
    switch type {
    case .string: return .string(text)
    case .bytes: return .bytes(Array(text.utf8))
    case .int:
      guard case .integer(let value)? = converted(to: .integer, readsText: true) else {
        return nil
      }
      return .int(Int(value))
    case .double:
      if case .duration(let value) = self { return .double(value / .seconds(1)) }
      guard case .number(let value)? = converted(to: .number, readsText: true) else { return nil }
      return .double(value)
    case .bool:
      guard case .boolean(let value)? = converted(to: .boolean, readsText: true) else {
        return nil
      }
      return .bool(value)
    case .stringArray, .intArray, .doubleArray, .boolArray: return array(type)
    }
  }

  private func array(_ type: SettingsProvider.ValueType) -> SettingsProvider.Content? {
    guard case .list(let elements)? = converted(to: .list, readsText: true) else { return nil }
    let values = elements.compactMap { SettingValue($0) }
    guard values.count == elements.count else { return nil }
    func all<Element>(
      _ one: (SettingsProvider.Content?) -> Element?, _ type: SettingsProvider.ValueType
    )
      -> [Element]?
    {
      let found = values.compactMap { one($0.content(type)) }
      return found.count == values.count ? found : nil
    }
    switch type {
    case .stringArray: return .stringArray(values.map(\.text))
    case .intArray:
      return all({ if case .int(let value)? = $0 { value } else { nil } }, .int).map {
        .intArray($0)
      }
    case .doubleArray:
      return all({ if case .double(let value)? = $0 { value } else { nil } }, .double).map {
        .doubleArray($0)
      }
    case .boolArray:
      return all({ if case .bool(let value)? = $0 { value } else { nil } }, .bool).map {
        .boolArray($0)
      }
    default: return nil
    }
  }
}
