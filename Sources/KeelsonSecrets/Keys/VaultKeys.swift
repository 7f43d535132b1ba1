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

  /// The version that wrapped last. Vault rotates by itself: ``refresh()`` asks.
  package var currentID: String { current.withLock { $0 } }

  /// Wraps and unwraps a key that nobody needs: afterwards ``currentID`` is Vault's, and Vault is
  /// known to let us do both.
  ///
  /// - Throws: ``CryptoError``.
  package func refresh() async throws {
    let key = try AES256GCM.makeKey()
    guard try await unwrap(try await wrap(key)) == key else {
      throw CryptoError(.unavailable, "\(what) gave back another key than it was given.")
    }
  }

  package func wrap(_ key: [UInt8]) async throws -> WrappedKey {
    let data = try await call(
      "encrypt", ["plaintext": .string(text(Base64.encode(key.span, isPadded: true)))])
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
    let data = try await call("decrypt", ["ciphertext": .string(text(wrapped.bytes))])
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

  private func call(_ operation: String, _ body: JSONValue) async throws -> JSONValue {
    let base = mount.percentEncoded(keepingSlashes: true)
    do {
      return try await client.call(
        "POST", "\(base)/\(operation)/\(name.percentEncoded())", body: body, what: what)
    } catch let error as SecretStoreError {
      let code: CryptoError.Code =
        switch error.code {
        case .settings where operation == "decrypt": .unauthentic
        case .missing: .missingKey
        default: .unavailable
        }
      throw CryptoError(code, error.message)
    }
  }
}
