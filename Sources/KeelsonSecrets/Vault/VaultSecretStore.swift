import KeelsonCore

/// One secret of Vault's key-value engine, version 2: its members are the values.
///
/// A member that is an object is a section; `__` in a name parts sections as well.
/// Source: "KV secrets engine - version 2 (API)", Read Secret Version.
package struct VaultSecretStore: SecretStore {
  private let client: VaultClient
  private let mount: String
  private let path: String
  private let version: Int?

  /// - Parameters:
  ///   - mount: where the engine is mounted: `secret`.
  ///   - path: of the secret below the mount, without `data/`: `keelson/production`.
  ///   - version: nil: the newest.
  package init(_ client: VaultClient, mount: String, path: String, version: Int? = nil) {
    self.client = client
    self.mount = Self.withoutSlashes(mount)
    self.path = Self.withoutSlashes(path)
    self.version = version
  }

  private static func withoutSlashes(_ text: String) -> String {
    String(text.drop { $0 == "/" }.reversed().drop { $0 == "/" }.reversed())
  }

  package var name: String { "\(client.name) (\(mount)/\(path))" }

  package func load() async throws -> LoadedSecrets {
    let data = try await read()
    guard case .object(let members)? = data["data"] else {
      throw SecretStoreError(
        .malformed,
        "\(client.name) answered for \(what) without the secret's data: is \(mount) a KV engine of "
          + "version 2?")
    }
    var flattening = SecretFlattening()
    try flattening.add(members, of: what, in: client.name)
    return LoadedSecrets(values: flattening.values)
  }

  private var what: String {
    "the secret \(mount)/\(path)" + (version.map { ", version \($0)" } ?? "")
  }

  private func read() async throws -> JSONValue {
    let base = mount.percentEncoded(keepingSlashes: true)
    let rest = path.percentEncoded(keepingSlashes: true)
    return try await client.call(
      "GET", "\(base)/data/\(rest)" + (version.map { "?version=\($0)" } ?? ""), what: what,
      keepsNumbers: true)
  }
}
