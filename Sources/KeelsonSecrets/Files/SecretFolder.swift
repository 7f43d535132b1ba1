import Glibc

/// A folder whose files are secrets or keys.
enum SecretFolder {
  /// How many files a folder may have.
  static let maximumFiles = 1_000

  /// The names in it that do not begin with a dot, sorted.
  ///
  /// - Parameter what: what the folder is for: `folder of secrets`.
  /// - Throws: ``SecretStoreError``: missing, denied, settings.
  static func names(_ path: String, what: String) throws(SecretStoreError) -> [String] {
    guard let stream = unsafe opendir(path) else {
      throw SecretFile.failure(errno, "The \(what) \(path)")
    }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
          unsafe String(cString: $0)
        }
      }
      guard !name.hasPrefix(".") else { continue }
      names.append(name)
      guard names.count <= maximumFiles else {
        throw SecretStoreError(
          .settings,
          "The \(what) \(path) has more than \(maximumFiles) files: name one that holds what "
            + "Keelson needs and nothing else.")
      }
    }
    return names.sorted()
  }

  static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }
}
