import KeelsonClient

/// An application's settings for the readers of swift-configuration.
struct KeelsonConfigProvider: ConfigProvider {
  let provider: SettingsProvider

  var providerName: String { provider.providerName }

  func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult {
    LookupResult(try provider.value(forKey: key.components, type: .init(type)))
  }

  func fetchValue(forKey key: AbsoluteConfigKey, type: ConfigType) async throws -> LookupResult {
    LookupResult(try await provider.fetchValue(forKey: key.components, type: .init(type)))
  }

  func watchValue<Return: ~Copyable>(
    forKey key: AbsoluteConfigKey, type: ConfigType,
    updatesHandler: (
      ConfigUpdatesAsyncSequence<Result<LookupResult, any Error>, Never>
    ) async throws -> Return
  ) async throws -> Return {
    try await provider.watchValue(forKey: key.components, type: .init(type)) { updates in
      try await updatesHandler(
        ConfigUpdatesAsyncSequence(
          updates.map { $0.map { LookupResult($0) }.mapError { $0 as any Error } }))
    }
  }

  func snapshot() -> any ConfigSnapshot {
    Snapshot(snapshot: provider.snapshot())
  }

  func watchSnapshot<Return: ~Copyable>(
    updatesHandler: (ConfigUpdatesAsyncSequence<any ConfigSnapshot, Never>) async throws -> Return
  ) async throws -> Return {
    try await provider.watchSnapshot { updates in
      try await updatesHandler(
        ConfigUpdatesAsyncSequence(updates.map { Snapshot(snapshot: $0) as any ConfigSnapshot }))
    }
  }

  struct Snapshot: ConfigSnapshot {
    let snapshot: SettingsProvider.Snapshot

    var providerName: String { snapshot.providerName }

    func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult {
      LookupResult(try snapshot.value(forKey: key.components, type: .init(type)))
    }
  }
}

extension SettingsProvider.ValueType {
  init(_ type: ConfigType) {
    // They have the same names.
    self = Self(rawValue: type.rawValue) ?? .string
  }
}

extension LookupResult {
  init(_ lookup: SettingsProvider.Lookup) {
    let content: ConfigContent? =
      switch lookup.content {
      case .string(let value): .string(value)
      case .int(let value): .int(value)
      case .double(let value): .double(value)
      case .bool(let value): .bool(value)
      case .bytes(let value): .bytes(value)
      case .stringArray(let value): .stringArray(value)
      case .intArray(let value): .intArray(value)
      case .doubleArray(let value): .doubleArray(value)
      case .boolArray(let value): .boolArray(value)
      case .byteChunkArray(let value): .byteChunkArray(value)
      case nil: nil
      }
    self.init(
      encodedKey: lookup.encodedKey,
      value: content.map { ConfigValue($0, isSecret: lookup.isSecret) })
  }
}
