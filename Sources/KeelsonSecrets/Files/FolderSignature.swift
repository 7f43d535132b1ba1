import Glibc

/// What tells one state of a folder's files from another: which files there are, and for each
/// which one it is, when it was changed and how long it is. Links are followed, so that a link that
/// leads elsewhere is a change as well.
package struct FolderSignature: Sendable, Equatable {
  private struct File: Sendable, Equatable {
    let device: UInt
    let inode: UInt
    let bytes: Int
    let times: [Int]

    init?(_ path: String) {
      var status = stat()
      guard unsafe stat(path, &status) == 0 else { return nil }
      device = UInt(status.st_dev)
      inode = UInt(status.st_ino)
      bytes = Int(status.st_size)
      times = [
        status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
        status.st_ctim.tv_nsec,
      ]
    }
  }

  private let files: [String: File]

  /// nil when there is no such folder, or it may not be read.
  package init?(folder: String) {
    guard let names = try? SecretFolder.names(folder, what: "folder") else { return nil }
    var files: [String: File] = [:]
    for name in names { files[name] = File("\(folder)/\(name)") }
    self.files = files
  }

  /// Of single files, whether they are there or not.
  package init(files paths: [String]) {
    files = paths.reduce(into: [:]) { $0[$1] = File($1) }
  }
}
