import KeelsonCore
package import KeelsonCrypto
import Synchronization

/// Keys that wrap data keys, in Vault's transit engine: they never leave it, and it rotates them.
///
/// Source: "Transit secrets engine (API)", Encrypt Data and Decrypt Data. A ciphertext says which
/// version of the key made it: `vault:v3:...`.
package final class VaultKeys: KeyEncryptionKeys {
  private let client: VaultClient
  private let mount: String
  private let name: String
  private let current = Mutex("")

  /// - Parameters:
  ///   - mount: where the engine is mounted: `transit`.
  ///   - name: of the key in it.
  package init(_ client: VaultClient, mount: String, name: String) {
    self.client = client
    self.mount = mount
    self.name = name
  }

  /// The newest version that was heard of. Vault rotates by itself: ``refresh()`` asks.
  package var currentID: String { current.withLock { $0 } }

  /// Asks for the key, whose newest version ``currentID`` names afterwards, and wraps and unwraps a
  /// key that nobody needs: Vault is known then to let us do both.
  ///
  /// It is asked for first, since Vault makes a key that it has not got when a policy lets it: what
  /// is wrapped under a mistyped name is lost with the next correction.
  ///
  /// - Throws: ``CryptoError``.
  package func refresh() async throws {
    let data = try await call("GET", "keys", nil)
    guard let version = data["latest_version"]?.numberValue.flatMap({ Int(exactly: $0) }) else {
      throw malformed
    }
    current.withLock { $0 = "\(prefix)\(version)" }
    let key = try AES256GCM.makeKey()
    guard try await unwrap(try await wrap(key)) == key else {
      throw CryptoError(.unavailable, "\(what) gave back another key than it was given.")
    }
  }

  package func wrap(_ key: [UInt8]) async throws -> WrappedKey {
    let data = try await call(
      "POST", "encrypt", ["plaintext": .string(text(Base64.encode(key.span, isPadded: true)))])
    guard let ciphertext = data["ciphertext"]?.stringValue, let version = version(ciphertext) else {
      throw malformed
    }
    let id = "\(prefix)\(version)"
    current.withLock { $0 = id }
    return WrappedKey(keyID: id, bytes: Array(ciphertext.utf8))
  }

  package func unwrap(_ wrapped: WrappedKey) async throws -> [UInt8] {
    guard wrapped.keyID.hasPrefix(prefix) else {
      throw CryptoError(
        .missingKey,
        "The encryption key '\(wrapped.keyID)' is none of \(what): give the server the keys back "
          + "that it had.")
    }
    let data = try await call("POST", "decrypt", ["ciphertext": .string(text(wrapped.bytes))])
    guard let plaintext = data["plaintext"]?.stringValue,
      let key = Base64.decode(Array(plaintext.utf8).span)
    else { throw malformed }
    return key
  }

  private var what: String { "the transit key \(mount)/\(name) of \(client.name)" }

  /// Of every identifier of this key.
  private var prefix: String { "vault:\(mount)/\(name):v" }

  private var malformed: CryptoError {
    CryptoError(.unavailable, "\(what) answered with something that its API does not have.")
  }

  private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  /// The number in `vault:v3:...`.
  private func version(_ ciphertext: String) -> Int? {
    let parts = ciphertext.split(separator: ":", maxSplits: 2)
    guard parts.count == 3, parts[0] == "vault", parts[1].first == "v" else { return nil }
    return Int(parts[1].dropFirst())
  }

  private func call(
    _ method: String, _ operation: String, _ body: JSONValue?
  ) async throws -> JSONValue {
    let base = mount.percentEncoded(keepingSlashes: true)
    do {
      return try await client.call(
        method, "\(base)/\(operation)/\(name.percentEncoded())", body: body, what: what)
    } catch let error as SecretStoreError {
      throw failure(error, operation)
    }
  }

  /// Vault answers 400 to decrypt for a key that it has not got, for a version that is not allowed
  /// any more, and for a ciphertext that was changed: its words tell them apart.
  private func failure(_ error: SecretStoreError, _ operation: String) -> CryptoError {
    let said = error.cause ?? ""
    if operation == "keys", error.code == .missing {
      return CryptoError(
        .missingKey,
        "\(client.name) has no transit key \(mount)/\(name): make it ('vault write -f "
          + "\(mount)/keys/\(name)'), or correct the name.")
    }
    if operation == "decrypt", error.code == .settings {
      let isGone = ["not found", "too old", "disallowed by policy"].contains { said.contains($0) }
      guard isGone else { return CryptoError(.unauthentic, error.message) }
      return CryptoError(
        .missingKey,
        "\(what) does not decrypt what an earlier version of it has encrypted (\(said)): lower its "
          + "min_decryption_version, or give back the key.")
    }
    return CryptoError(error.code == .missing ? .missingKey : .unavailable, error.message)
  }
}
