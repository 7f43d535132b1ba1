import Foundation

/// The files of the repository, as they lie on disk around this file.
struct SourceTree {
  /// The repository's folder.
  let root: URL
  let files: [SourceFile]

  /// Folders that hold nothing that people write.
  private static let ignored: Set<String> = [
    ".build", ".git", ".venv", "__pycache__", "keelson-data", ".swiftpm",
  ]

  static let current = SourceTree(
    root: URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent())

  init(root: URL) {
    self.root = root
    self.files = Self.paths(in: root, below: "").sorted().compactMap { path in
      guard let data = FileManager.default.contents(atPath: root.appending(path: path).path),
        let text = String(data: data, encoding: .utf8)
      else { return nil }
      return SourceFile(path: path, text: text)
    }
  }

  private static func paths(in root: URL, below folder: String) -> [String] {
    let here = folder.isEmpty ? root : root.appending(path: folder)
    let names = (try? FileManager.default.contentsOfDirectory(atPath: here.path)) ?? []
    return names.flatMap { name -> [String] in
      guard !ignored.contains(name) else { return [] }
      let path = folder.isEmpty ? name : "\(folder)/\(name)"
      let isFolder =
        (try? root.appending(path: path).resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory
        ?? false
      return isFolder ? paths(in: root, below: path) : [path]
    }
  }

  func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: root.appending(path: path).standardizedFileURL.path)
  }
}
