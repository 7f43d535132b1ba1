import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonStore

/// Seals what a new schema has made a secret: what is set, its history, and what snapshots have of
/// it. Part of the transaction that defines the schema.
struct SealingOfSecrets {
  typealias API = KeelsonConfigurationV1

  let scope: ConfigurationScope
  let change: Change
  let dataKeys: DataKeys
  let prepared: DataKeys.Prepared?

  /// - Returns: whether ``prepared`` is used, and so stored.
  /// - Throws: ``NeedsDataKey``, ``UnknownDataKey``; what ``DataKeys/seal`` throws.
  func run(_ room: ConfigurationRoom) async throws -> Bool {
    let keys = room.api.values.filter { stored in
      stored.value?.isSealed == false && room.schema.isSensitive(stored.key)
    }.map(\.key).sorted()
    guard !keys.isEmpty else { return false }
    let current = try await DataKeyRepository.current(scope, in: change)
    var statements: [SQLStatement] = []
    let isNew = current == 0 || dataKeys.isLost(current, of: scope)
    let number = isNew ? current + 1 : current
    if isNew {
      guard let prepared, prepared.stored.number == number else {
        throw NeedsDataKey(scope: scope, number: number)
      }
      statements.append(DataKeyRepository.insert(prepared.stored, time: change.time, in: scope))
    }
    var payload = API.StoredChange(
      application: scope.application, environment: scope.environment)
    var growth = 0
    for key in keys {
      if var setting = room.api[key] {
        growth -= setting.storedBytes
        setting.value = try sealed(setting.value, key, number)
        growth += setting.storedBytes
        payload.settings.append(setting)
        statements.append(SettingRepository.set(setting, in: scope))
      }
      statements += try await sealPast(of: key, with: number)
    }
    statements.append(EnvironmentRepository.add(bytes: growth, to: scope))
    try await change.executeAll(statements)
    change.emit(
      ConfigurationEvent.encrypted.draft(
        scope, ["keys": JSONValue(keys: keys, limit: keys.count)], payload: payload.encoded()))
    return isNew
  }

  /// The statements that seal what history and snapshots have of a key.
  func sealPast(of key: String, with number: Int64) async throws -> [SQLStatement] {
    var statements: [SQLStatement] = []
    for var entry in try await HistoryRepository.plain(key, in: scope, change) {
      entry.before = try sealed(entry.before, key, number)
      entry.after = try sealed(entry.after, key, number)
      statements.append(HistoryRepository.update(entry, in: scope))
    }
    for (name, setting) in try await SnapshotRepository.settings(
      ofKey: key, in: scope, change)
    {
      var setting = setting
      setting.value = try sealed(setting.value, key, number)
      statements.append(SnapshotRepository.update(setting, of: name, in: scope))
    }
    return statements
  }

  func sealed(
    _ value: API.StoredValue?, _ key: String, _ number: Int64
  ) throws -> API.StoredValue? {
    guard let value, case .plain(let plain)? = value.content else { return value }
    if let prepared, prepared.stored.number == number {
      return try DataKeys.seal(plain, key: key, of: scope, with: prepared)
    }
    return try dataKeys.seal(plain, key: key, of: scope, dataKey: number)
  }
}
