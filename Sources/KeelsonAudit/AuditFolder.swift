import Glibc
import KeelsonCrypto

/// A failure with a file, in words for the log and the admin.
package struct AuditFolderError: Error, CustomStringConvertible {
  package let description: String

  init(_ what: String, _ path: String) {
    let reason = unsafe String(cString: strerror(errno))
    description = "\(what) \(path) failed: \(reason)."
  }

  init(_ description: String) {
    self.description = description
  }
}

/// The folder of the archives.
enum AuditFolder {
  /// Makes it when it is not there; the folder around it has to be.
  static func make(_ path: String) throws {
    guard unsafe mkdir(path, 0o700) == 0 else {
      guard errno == EEXIST else { throw AuditFolderError("Making the folder", path) }
      return
    }
    try synchronize(folderOf: path)
  }

  /// Makes sure that what was made, or moved, in the folder of a path is on the disk.
  static func synchronize(folderOf path: String) throws {
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      .joined(separator: "/")
    let name = folder.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : folder
    let opened = unsafe open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard opened >= 0 else { throw AuditFolderError("Opening the folder", name) }
    defer { close(opened) }
    guard fsync(opened) == 0 else { throw AuditFolderError("Flushing the folder", name) }
  }

  /// The names of the files in it, and how many seconds ago each was written to; nothing when there
  /// is no folder.
  static func files(in path: String) throws -> [(name: String, age: Int)] {
    guard let folder = unsafe opendir(path) else {
      if errno == ENOENT { return [] }
      throw AuditFolderError("Reading the folder", path)
    }
    defer { unsafe closedir(folder) }
    var files: [(name: String, age: Int)] = []
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
          unsafe String(cString: $0)
        }
      }
      var about = stat()
      guard unsafe lstat("\(path)/\(name)", &about) == 0, about.st_mode & S_IFMT == S_IFREG else {
        continue
      }
      files.append((name, time(nil) - about.st_mtim.tv_sec))
    }
    return files
  }

  /// Takes away files that nobody needs.
  static func remove(_ paths: [String]) {
    for path in paths { _ = unsafe unlink(path) }
  }
}

/// A file that is written beside its place and moved there when it is whole and on the disk.
/// Blocks; for one task at a time.
final class AuditFileOutput {
  let path: String
  private var descriptor: Int32
  private var beside: String { path + ".new" }

  /// - Parameter mode: who may read and write it, 0o600 for example.
  init(_ path: String, mode: mode_t) throws {
    self.path = path
    _ = unsafe unlink(path + ".new")
    descriptor = unsafe open(path + ".new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw AuditFolderError("Making the file", path) }
  }

  deinit {
    guard descriptor >= 0 else { return }
    close(descriptor)
    _ = unsafe unlink(beside)
  }

  func write(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw AuditFolderError("Writing the file", path) }
      rest = rest.dropFirst(count)
    }
  }

  /// Where it lies until it is finished.
  var pathBeside: String { beside }

  /// Makes sure that it is on the disk.
  func synchronize() throws {
    guard fsync(descriptor) == 0 else { throw AuditFolderError("Flushing the file", path) }
  }

  /// Moves it to its place.
  func finish() throws {
    try synchronize()
    let closed = close(descriptor)
    descriptor = -1
    guard closed == 0 else { throw AuditFolderError("Closing the file", path) }
    guard unsafe rename(beside, path) == 0 else { throw AuditFolderError("Moving the file", path) }
    try AuditFolder.synchronize(folderOf: path)
  }
}

/// A file that is read piece by piece. Blocks.
final class AuditFileInput: Sendable {
  private let path: String
  private let descriptor: Int32

  /// nil when there is no such file.
  init?(_ path: String) throws {
    self.path = path
    descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw AuditFolderError("Opening the file", path)
    }
  }

  deinit {
    close(descriptor)
  }

  /// The next piece; empty at the end.
  func read(_ count: Int = 64 << 10) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    while true {
      let read = unsafe Glibc.read(descriptor, &bytes, count)
      if read < 0, errno == EINTR { continue }
      guard read >= 0 else { throw AuditFolderError("Reading the file", path) }
      bytes.removeLast(count - read)
      return bytes
    }
  }
}

/// The key that this server signs with.
enum SigningKeyFile {
  /// Reads the key, or makes it when the file is missing.
  ///
  /// - Throws: ``AuditFolderError`` that says what to do.
  static func load(_ path: String) throws -> SigningKey {
    do {
      guard let input = try AuditFileInput(path) else {
        // With the data in PostgreSQL, this may be the first file in the data folder.
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        if folder.count > 1 || folder.first?.isEmpty == false {
          try AuditFolder.make(folder.joined(separator: "/"))
        }
        let key = try SigningKey.make()
        let output = try AuditFileOutput(path, mode: 0o600)
        try output.write(Array(key.pem.utf8))
        try output.finish()
        return key
      }
      return try SigningKey(pem: String(decoding: try input.read(64 << 10), as: UTF8.self))
    } catch let error as CryptoError {
      throw AuditFolderError(
        "The audit signing key \(path) cannot be used: \(error.message) Restore the file; without "
          + "it, remove it, and the server makes another key.")
    }
  }
}
