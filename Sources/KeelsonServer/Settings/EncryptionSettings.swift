import KeelsonConfigurationRules
import KeelsonCore
import KeelsonCrypto
import KeelsonSecrets

/// Where the keys are that wrap data keys.
package struct EncryptionSettings: Sendable {
  /// A folder or a file.
  var keyPath: String?
  /// Keys that settings give, by id.
  var keys: [String: SecretValue] = [:]
  var currentKey: String?
  /// A key in Vault's transit engine.
  var transitKey: String?
  var transitMount = "transit"

  init() {}

  init(_ reader: inout SettingsReader) {
    keyPath = reader.text(SettingName.Encryption.keyPath)
    currentKey = reader.text(SettingName.Encryption.currentKey)
    transitKey = reader.text(SettingName.Encryption.transitKey)
    transitMount = reader.text(SettingName.Encryption.transitMount) ?? transitMount
    for (id, setting) in reader.sections(below: SettingName.Encryption.keys) {
      let key = "\(SettingName.Encryption.keys):\(id)"
      let value = SecretValue(setting.value.text)
      keys[id] = value
      do {
        _ = try KeyText.key(value, name: "It")
      } catch {
        reader.note(key, "key", error.message)
      }
    }
    let given = [keyPath != nil, !keys.isEmpty, transitKey != nil].count { $0 }
    if given > 1 {
      reader.note(
        transitKey == nil ? SettingName.Encryption.keyPath : SettingName.Encryption.transitKey,
        "conflict",
        "keys come from \(SettingName.Encryption.keyPath), from \(SettingName.Encryption.keys) or from "
          + "\(SettingName.Encryption.transitKey): set one of them")
    }
    if transitKey != nil {
      reader.require(SettingName.Vault.address, for: SettingName.Encryption.transitKey)
    }
    if let currentKey, !keys.isEmpty, keys[currentKey] == nil {
      reader.note(
        SettingName.Encryption.currentKey, "key",
        "'\(currentKey)' is none of the keys that are given: \(keys.keys.sorted().joined(separator: ", "))"
      )
    }
  }

  /// The keys, ready to wrap.
  ///
  /// - Parameters:
  ///   - dataFolder: of the embedded store, where a first key is made when nothing is set; nil
  ///     with any other.
  ///   - vault: the client for Vault's transit engine.
  /// - Returns: nil when there is nothing to encrypt with.
  /// - Throws: `CryptoError` whose sentence tells an admin what to do.
  func makeKeys(
    dataFolder: String?, vault: VaultClient?, logger: Logger
  ) async throws -> (any KeyEncryptionKeys)? {
    if let transitKey, let vault {
      let keys = VaultKeys(vault, mount: transitMount, name: transitKey)
      try await keys.refresh()
      return keys
    }
    if let keyPath { return try FileKeys(path: keyPath, current: currentKey, logger: logger) }
    if !keys.isEmpty {
      var bytes: [String: [UInt8]] = [:]
      for (id, value) in keys {
        bytes[id] = try KeyText.key(value, name: "The key \(SettingName.Encryption.keys):\(id)")
      }
      // Not empty.
      return try LocalKeys(bytes, currentID: currentKey ?? bytes.keys.max() ?? "")
    }
    guard let dataFolder else { return nil }
    let folder = "\(dataFolder)/keys"
    if let made = try FileKeys.makeFirst(inFolder: folder) {
      logger.log(
        .info,
        "Made a first encryption key. Keep a copy of it: without it, encrypted values are lost.",
        ["file": made])
    }
    return try FileKeys(path: folder, current: currentKey, logger: logger)
  }

  /// Reads the keys that lie in files, as ``makeKeys(dataFolder:vault:logger:)`` does, and makes none.
  ///
  /// - Throws: `CryptoError` whose sentence tells an admin what to do.
  func checkFiles(dataFolder: String?, logger: Logger) throws(CryptoError) {
    if let keyPath {
      _ = try FileKeys(path: keyPath, current: currentKey, logger: logger)
    } else if keys.isEmpty, transitKey == nil, let dataFolder {
      let folder = "\(dataFolder)/keys"
      if try FileKeys.hasKey(inFolder: folder) {
        _ = try FileKeys(path: folder, current: currentKey, logger: logger)
      } else if let currentKey {
        throw CryptoError(
          .missingKey,
          "'\(currentKey)' is to be the current key, and \(folder) has none yet: put "
            + "\(currentKey).key there, or leave the setting away, and a first key is made.")
      }
    }
  }
}
