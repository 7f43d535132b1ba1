import CLibUV
import Glibc
import KeelsonCore

/// A file that holds certificates or a key, as it is on the disk now.
struct PEMFile {
  /// A file over this size is no certificate: the largest bundles of trust roots are a tenth.
  static let maximumBytes = 4 << 20

  let path: String
  let bytes: [UInt8]

  /// - Parameter what: what the file is for, `TLS certificate` for example.
  /// - Throws: ``TLSError`` with code `unreadableFile`.
  init(_ path: String, what: String) throws(TLSError) {
    self.path = path
    func unreadable(_ reason: String) -> TLSError {
      TLSError(.unreadableFile, "The \(what) file \(path) cannot be read: \(reason).")
    }
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw unreadable(uvMessage(-errno)) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw unreadable(uvMessage(-errno)) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw unreadable("it is no regular file") }
    guard status.st_size <= Self.maximumBytes else {
      throw unreadable("it has \(status.st_size) bytes, over the limit of \(Self.maximumBytes)")
    }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 * 1024)
    while bytes.count <= Self.maximumBytes {
      let count = unsafe read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw unreadable(uvMessage(-errno)) }
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    self.bytes = bytes
  }
}

/// What tells one state of a file from another: which file it is, when it was changed, and how
/// long it is. Links are followed, so that a link that leads elsewhere is a change as well
/// (Kubernetes swaps a link to a whole folder).
struct FileSignature: Equatable, Sendable {
  private let device: UInt
  private let inode: UInt
  private let bytes: Int
  private let modified: [Int]

  /// nil when there is no such file.
  init?(path: String) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { return nil }
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
    bytes = Int(status.st_size)
    modified = [
      status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
    ]
  }
}
