/// A data key that another key has encrypted, so that it may lie beside what it encrypts.
package struct WrappedKey: Sendable, Hashable {
  /// Which key wrapped it.
  package var keyID: String
  package var bytes: [UInt8]

  package init(keyID: String, bytes: [UInt8]) {
    self.keyID = keyID
    self.bytes = bytes
  }
}

/// The keys that wrap data keys. Source: SYS-130; NIST SP 800-57 part 1, 5.1.1 (key wrapping keys).
///
/// Rotating means that there is a new current key; the old ones go on unwrapping.
package protocol KeyEncryptionKeys: Sendable {
  /// The key that wraps from now on.
  var currentID: String { get }

  /// Has ``currentID`` be what it is now, where the keys are elsewhere: in files, in a vault.
  ///
  /// - Throws: ``CryptoError`` with code unavailable or missingKey.
  func refresh() async throws

  /// - Throws: ``CryptoError`` with code missingKey, unavailable or system.
  func wrap(_ key: [UInt8]) async throws -> WrappedKey

  /// - Throws: ``CryptoError`` with code missingKey when there is no key of that identifier (any
  ///   more), unauthentic when the wrapped key was changed, unavailable.
  func unwrap(_ wrapped: WrappedKey) async throws -> [UInt8]
}

extension KeyEncryptionKeys {
  /// Nothing to ask: the keys are here.
  package func refresh() async throws {}
}

/// Keys that this process holds itself.
package struct LocalKeys: KeyEncryptionKeys {
  package let currentID: String
  private let keys: [String: [UInt8]]

  /// - Parameter keys: by identifier, 32 bytes each.
  /// - Throws: ``CryptoError`` with code missingKey when the current one is not among them,
  ///   malformed when one has another length.
  package init(_ keys: [String: [UInt8]], currentID: String) throws(CryptoError) {
    for (id, key) in keys where key.count != AES256GCM.keyBytes {
      throw CryptoError(
        .malformed,
        "Key '\(id)' has \(key.count) bytes; a key for encrypting has \(AES256GCM.keyBytes).")
    }
    guard keys[currentID] != nil else {
      throw CryptoError(.missingKey, "There is no key '\(currentID)', which is to be used.")
    }
    self.keys = keys
    self.currentID = currentID
  }

  package func wrap(_ key: [UInt8]) async throws -> WrappedKey {
    WrappedKey(
      keyID: currentID,
      bytes: try AES256GCM.seal(key, key: try wrappingKey(currentID), binding: binding(currentID)))
  }

  package func unwrap(_ wrapped: WrappedKey) async throws -> [UInt8] {
    try AES256GCM.open(
      wrapped.bytes, key: try wrappingKey(wrapped.keyID), binding: binding(wrapped.keyID))
  }

  private func wrappingKey(_ id: String) throws -> [UInt8] {
    guard let key = keys[id] else {
      throw CryptoError(
        .missingKey,
        "There is no encryption key '\(id)' on this server; give it back to the server, or what "
          + "was encrypted under it stays unreadable.")
    }
    return key
  }

  private func binding(_ id: String) -> [UInt8] { Array("keelson.wrapped-key.\(id)".utf8) }
}

/// Only identifiers show, wherever keys are printed.
extension LocalKeys: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  package var description: String {
    "LocalKeys(\(keys.keys.sorted().joined(separator: ", ")); current: \(currentID))"
  }
  package var debugDescription: String { description }
  package var customMirror: Mirror { Mirror(self, children: ["currentID": currentID]) }
}
