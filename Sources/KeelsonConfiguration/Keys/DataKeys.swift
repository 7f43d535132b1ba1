import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Synchronization

/// The data keys that settings are sealed with: one at a time for each application and
/// environment, stored wrapped by a key encryption key, unwrapped only here, in memory.
final class DataKeys: Sendable {
  typealias API = KeelsonConfigurationV1

  /// The keys of one scope that could be unwrapped.
  private struct Ring {
    var keys: [Int64: [UInt8]] = [:]
    /// What those that could not be unwrapped are wrapped with, or why they could not.
    var failures: [Int64: CryptoFailure] = [:]
  }

  /// Why a data key cannot be used.
  struct CryptoFailure: Sendable {
    var wrappingKey: String
    var message: String
    var isMissing: Bool
    var time = ContinuousClock.now
  }

  /// A failure counts for so long; then it is tried again.
  private static let failureAge: Duration = .seconds(2)

  private let rings = Mutex<[ConfigurationScope: Ring]>([:])
  private let wrapping: (any KeyEncryptionKeys)?

  init(wrapping: (any KeyEncryptionKeys)?) {
    self.wrapping = wrapping
  }

  /// The key encryption key that wraps from now on.
  ///
  /// - Throws: `RPCError` FAILED_PRECONDITION when the server has none.
  func wrappingKeys() throws -> any KeyEncryptionKeys {
    guard let wrapping else {
      throw RPCError(
        .failedPrecondition,
        "This server has no key encryption key, so it cannot keep secrets; give it one "
          + "(docs/operations.md, \"Encryption keys\") and repeat the call.",
        details: [
          .preconditionFailure([
            PreconditionViolation(
              type: "KEY_MISSING", subject: "", description: "No key encryption key is set.")
          ])
        ])
    }
    return wrapping
  }

  // MARK: Getting keys

  /// Unwraps those of the stored keys that are not known yet. What cannot be unwrapped is noted.
  func load(_ stored: [DataKeyRepository.Stored], of scope: ConfigurationScope) async {
    let known = rings.withLock { Set($0[scope]?.keys.keys ?? [:].keys) }
    var opened: [Int64: [UInt8]] = [:]
    var failures: [Int64: CryptoFailure] = [:]
    for key in stored where !known.contains(key.number) {
      let id = key.wrapped.keyID
      guard let wrapping else {
        failures[key.number] = CryptoFailure(
          wrappingKey: id, message: "This server has no key encryption key.", isMissing: true)
        continue
      }
      do {
        opened[key.number] = try await wrapping.unwrap(key.wrapped)
      } catch let error as CryptoError {
        failures[key.number] = CryptoFailure(
          wrappingKey: id, message: error.message, isMissing: error.code != .unavailable)
      } catch {
        failures[key.number] = CryptoFailure(
          wrappingKey: id, message: "The key encryption key cannot be used right now.",
          isMissing: false)
      }
    }
    let (found, failed) = (opened, failures)
    let numbers = Set(stored.map(\.number))
    rings.withLock { rings in
      var ring = rings[scope] ?? Ring()
      ring.keys = ring.keys.filter { numbers.contains($0.key) }.merging(found) { $1 }
      ring.failures = failed
      rings[scope] = ring
    }
  }

  /// The identifier of the key that wraps from now on, asked for anew.
  func freshID() async throws -> String {
    let wrapping = try wrappingKeys()
    do {
      try await wrapping.refresh()
    } catch let error as CryptoError {
      throw Self.unusable(wrapping.currentID, error)
    }
    return wrapping.currentID
  }

  /// A data key that is not stored yet.
  struct Prepared: Sendable {
    var stored: DataKeyRepository.Stored
    var key: [UInt8]
  }

  func make(number: Int64) async throws -> Prepared {
    let wrapping = try wrappingKeys()
    do {
      let key = try AES256GCM.makeKey()
      return Prepared(
        stored: DataKeyRepository.Stored(number: number, wrapped: try await wrapping.wrap(key)),
        key: key)
    } catch let error as CryptoError {
      throw Self.unusable(wrapping.currentID, error)
    }
  }

  /// Wraps a stored data key with the current key encryption key.
  func rewrap(_ stored: DataKeyRepository.Stored, of scope: ConfigurationScope) async throws
    -> DataKeyRepository.Stored
  {
    let wrapping = try wrappingKeys()
    let key = try key(stored.number, of: scope)
    do {
      return DataKeyRepository.Stored(
        number: stored.number, wrapped: try await wrapping.wrap(key))
    } catch let error as CryptoError {
      throw Self.unusable(wrapping.currentID, error)
    }
  }

  /// Notes a data key that a committed transaction has stored.
  func add(_ prepared: Prepared, to scope: ConfigurationScope) {
    rings.withLock { $0[scope, default: Ring()].keys[prepared.stored.number] = prepared.key }
  }

  /// The key encryption keys that data keys of a scope need and that are missing.
  func missingKeys(of scope: ConfigurationScope) -> [String] {
    rings.withLock { rings in
      Set((rings[scope]?.failures ?? [:]).values.map(\.wrappingKey)).sorted()
    }
  }

  /// - Throws: `RPCError` FAILED_PRECONDITION that names the key encryption key that is missing,
  ///   UNAVAILABLE when it cannot be reached; ``UnknownDataKey``.
  private func key(_ number: Int64, of scope: ConfigurationScope) throws -> [UInt8] {
    let (key, failure) = rings.withLock { rings in
      (rings[scope]?.keys[number], rings[scope]?.failures[number])
    }
    if let key { return key }
    guard let failure, failure.time.duration(to: .now) < Self.failureAge else {
      throw UnknownDataKey(scope: scope)
    }
    throw Self.error(failure, scope: scope, number: number)
  }

  /// Whether a data key is known to be lost: its key encryption key is missing.
  func isLost(_ number: Int64, of scope: ConfigurationScope) -> Bool {
    rings.withLock { rings in
      rings[scope]?.keys[number] == nil && rings[scope]?.failures[number]?.isMissing == true
    }
  }

  /// The data keys of a scope that can be used.
  func usable(of scope: ConfigurationScope) -> [Int64] {
    rings.withLock { ($0[scope]?.keys.keys).map { $0.sorted() } ?? [] }
  }

  // MARK: Sealing

  /// Seals a value under a data key.
  func seal(
    _ value: API.SettingValue, key: String, of scope: ConfigurationScope, dataKey number: Int64
  ) throws -> API.StoredValue {
    try Self.seal(
      value, key: key, of: scope, dataKey: number, try self.key(number, of: scope))
  }

  /// Seals a value under a data key that is about to be stored.
  static func seal(
    _ value: API.SettingValue, key: String, of scope: ConfigurationScope, with prepared: Prepared
  ) throws -> API.StoredValue {
    try seal(value, key: key, of: scope, dataKey: prepared.stored.number, prepared.key)
  }

  private static func seal(
    _ value: API.SettingValue, key: String, of scope: ConfigurationScope, dataKey number: Int64,
    _ dataKey: [UInt8]
  ) throws -> API.StoredValue {
    var sealed = API.SealedValue()
    sealed.dataKey = number
    do throws(CryptoError) {
      sealed.bytes = try AES256GCM.seal(
        value.encoded(), key: dataKey, binding: binding(key, of: scope))
    } catch {
      throw RPCError(.internalError, "A value could not be sealed.", cause: error.message)
    }
    return API.StoredValue(content: .sealed(sealed))
  }

  /// Opens a value; a plain one is what it is.
  ///
  /// - Throws: `RPCError` FAILED_PRECONDITION that names the key that is missing, UNAVAILABLE,
  ///   DATA_LOSS when the stored value was changed; ``UnknownDataKey`` when the keys of the scope
  ///   have to be loaded first.
  func open(
    _ value: API.StoredValue?, key: String, of scope: ConfigurationScope
  ) throws -> API.SettingValue {
    switch value?.content {
    case nil: return API.SettingValue()
    case .plain(let plain): return plain
    case .sealed(let sealed):
      let dataKey = try self.key(sealed.dataKey, of: scope)
      do {
        let bytes = try AES256GCM.open(
          sealed.bytes, key: dataKey, binding: Self.binding(key, of: scope))
        return try StoredMessage.decode(bytes)
      } catch let error as CryptoError {
        throw RPCError(
          .dataLoss,
          "The stored value of '\(key)' in \(scope) was changed or belongs elsewhere; set it anew.",
          cause: error.message)
      }
    }
  }

  /// What a sealed value belongs to. None of the three can hold a zero byte.
  private static func binding(_ key: String, of scope: ConfigurationScope) -> [UInt8] {
    Array("keelson.configuration\0\(scope.application)\0\(scope.environment)\0\(key)".utf8)
  }

  private static func unusable(_ id: String, _ error: CryptoError) -> RPCError {
    error.code == .unavailable
      ? RPCError(
        .unavailable, "The key encryption key '\(id)' cannot be used right now; try again.",
        details: [.retryInfo(.seconds(5))], cause: error.message)
      : RPCError(
        .failedPrecondition, "The key encryption key '\(id)' cannot be used: \(error.message)")
  }

  private static func error(
    _ failure: CryptoFailure, scope: ConfigurationScope, number: Int64
  ) -> RPCError {
    guard failure.isMissing else {
      return RPCError(
        .unavailable,
        "The key encryption key '\(failure.wrappingKey)' cannot be reached right now; try again.",
        details: [.retryInfo(.seconds(5))], cause: failure.message)
    }
    return RPCError(
      .failedPrecondition,
      "The secrets of \(scope) need the key encryption key '\(failure.wrappingKey)', which this "
        + "server does not have: \(failure.message) Give it back to the server, or set the "
        + "secrets anew.",
      details: [
        .preconditionFailure([
          PreconditionViolation(
            type: "KEY_MISSING", subject: failure.wrappingKey,
            description: "Data key \(number) of \(scope) is wrapped with it.")
        ])
      ])
  }
}

/// The keys of a scope have changed in the database since they were loaded: load them and repeat.
struct UnknownDataKey: Error {
  var scope: ConfigurationScope
}
