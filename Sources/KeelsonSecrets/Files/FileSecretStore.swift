import KeelsonCore

/// Secrets as files, one each, as Kubernetes and Docker mount them: the name of the file is the
/// key, with `__` between sections, and its content is the value.
///
/// Files and folders whose names begin with a dot are left out: Kubernetes swaps the link
/// `..data` to a new folder, and the files of a moment are found through it, all of one version.
package struct FileSecretStore: SecretStore {
  private let folder: String

  package init(folder: String) {
    self.folder = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
  }

  package var name: String { "the folder \(folder)" }

  /// What is there now, to be compared with what was there before; nil when there is no folder.
  package var signature: FolderSignature? { FolderSignature(folder: folder) }

  package func load() async throws -> LoadedSecrets {
    try await FileQueue.run { try readWhole() }
  }

  private func readWhole() throws(SecretStoreError) -> LoadedSecrets {
    // A swap between two reads would give files of two versions.
    for _ in 0..<5 {
      let before = signature
      let loaded = try read()
      if signature == before { return loaded }
    }
    throw SecretStoreError(
      .failed, "The secrets in \(folder) change faster than they can be read: write them once.")
  }

  private func read() throws(SecretStoreError) -> LoadedSecrets {
    var loaded = LoadedSecrets()
    var keys: [String: String] = [:]
    for name in try SecretFolder.names(folder, what: "folder of secrets") {
      let path = "\(folder)/\(name)"
      if SecretFolder.isFolder(path) {
        loaded.warnings.append(
          "\(path) is a folder: secrets are read from files in \(folder) only.")
        continue
      }
      let file = try SecretFile(path, what: "secret file")
      guard file.value.validText != nil else {
        throw SecretStoreError(
          .malformed, "The secret file \(path) is not UTF-8 text: write binary values as base64.")
      }
      if let warning = file.warning { loaded.warnings.append(warning) }
      let key = name.replacing("__", with: ":")
      if let other = keys.updateValue(name, forKey: key.lowercased()) {
        throw SecretStoreError(
          .malformed,
          "The secret files \(other) and \(name) in \(folder) mean the same key \(key): remove one."
        )
      }
      loaded.values[key] = file.line
    }
    return loaded
  }
}
