import Glibc
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonSecrets

/// The files of a configuration: `appsettings.json`, and beside it `appsettings.<Environment>.json`.
package struct SettingsFiles: Sendable, Equatable {
  /// A file over this size is no configuration.
  static let maximumBytes = 4 << 20
  private static let usualName = "appsettings.json"

  /// The folder that both are in.
  let folder: String
  /// The name of the first, `appsettings.json` unless a file was named.
  let name: String
  /// Whether it has to be there: somebody named it.
  let isRequired: Bool

  /// - Parameter path: a folder or a file; nil: the working folder, where there may be none.
  package init(path: String?) {
    isRequired = path != nil
    let path = path ?? "."
    if Self.isFolder(path) || path.hasSuffix("/") {
      folder = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
      name = Self.usualName
    } else {
      let parts = path.split(separator: "/", omittingEmptySubsequences: false)
      folder = parts.count > 1 ? parts.dropLast().joined(separator: "/") : "."
      name = String(parts.last ?? "")
    }
  }

  var base: String { place(name) }

  /// Whether the folder is there and may be read.
  var isThere: Bool { FolderSignature(folder: folder) != nil }

  /// The file of an environment. Its name may be written in another case: .NET has `Production`
  /// where we say `production`.
  func file(ofEnvironment environment: String) -> String {
    let stem = name.hasSuffix(".json") ? String(name.dropLast(5)) : name
    let wanted = "\(stem).\(environment).json"
    let found = Self.names(folder).filter { $0.lowercased() == wanted.lowercased() }
    return place(found.contains(wanted) ? wanted : found.first ?? wanted)
  }

  private func place(_ name: String) -> String { folder == "." ? name : "\(folder)/\(name)" }

  /// Reads a file as a layer.
  ///
  /// - Returns: nil when it is not there.
  /// - Throws: ``SettingsProblem`` for what is not JSON, with the line.
  static func layer(
    _ layer: ConfigurationLayer, file: String, schema: ConfigurationSchema
  ) throws(SettingsProblem) -> LayerValues? {
    guard let document = try document(file) else { return nil }
    do throws(LayerError) {
      return try LayerValues(layer, document: document, source: file, schema: schema)
    } catch {
      throw SettingsProblem(source: file, rule: "syntax", message: error.message)
    }
  }

  /// Reads a file.
  ///
  /// - Returns: nil when it is not there.
  /// - Throws: ``SettingsProblem`` for what is not JSON, with the line.
  static func document(_ file: String) throws(SettingsProblem) -> JSONValue? {
    guard let text = try text(file) else { return nil }
    do {
      return try JSONValue(parsing: text, refusesRepeatedNames: true)
    } catch {
      throw SettingsProblem(source: file, rule: "syntax", message: "\(error)")
    }
  }

  /// The environments that a file is there for, in small letters.
  var environments: Set<String> {
    let stem = (name.hasSuffix(".json") ? String(name.dropLast(5)) : name) + "."
    return Set(
      Self.names(folder).filter { $0.hasPrefix(stem) && $0.hasSuffix(".json") && $0 != name }
        .map { String($0.dropFirst(stem.count).dropLast(5)).lowercased() }
        .filter { !$0.isEmpty })
  }

  /// - Returns: nil when it is not there.
  private static func text(_ path: String) throws(SettingsProblem) -> String? {
    func unreadable(_ reason: String) -> SettingsProblem {
      SettingsProblem(
        source: path, rule: "readable", message: "the file cannot be read: \(reason)")
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw unreadable(String(cString: strerror(errno)))
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw unreadable("it is no regular file")
    }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw unreadable(String(cString: strerror(errno))) }
      guard count > 0 else { break }
      bytes += chunk[..<count]
      guard bytes.count <= maximumBytes else {
        throw unreadable("it has more than \(maximumBytes) bytes")
      }
    }
    // A byte order mark, as editors on Windows write it.
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes.removeFirst(3) }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw unreadable("it is not UTF-8 text")
    }
    return text
  }

  private static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  private static func names(_ folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) { pointer in
          pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names.sorted()
  }
}

extension SettingsProblem: Error {}
