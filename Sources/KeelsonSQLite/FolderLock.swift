import Glibc
import KeelsonStore

/// The hold of one process on a data folder. The kernel lets go of it when the process ends,
/// however it ends.
final class FolderLock: Sendable {
  private let descriptor: Int32

  /// Makes the folder if it is missing, and takes hold of it.
  ///
  /// - Throws: ``StoreError`` with code busy, naming the folder and the process that holds it, or
  ///   io when the folder cannot be made or written.
  init(folder: String) throws {
    try Self.make(folder)
    let path = "\(folder)/keelson.lock"
    let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw StoreError(
        .io,
        """
        The data folder \(folder) cannot be written: \(Self.systemMessage()). Check who owns it \
        and its permissions, or choose another.
        """)
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let isHeld = errno == EWOULDBLOCK
      let message = Self.systemMessage()
      let holder = Self.read(descriptor)
      Glibc.close(descriptor)
      guard isHeld else {
        throw StoreError(.io, "The data folder \(folder) cannot be locked: \(message).")
      }
      throw StoreError(
        .busy,
        """
        The data folder \(folder) is in use by another Keelson server, process \(holder). Stop \
        that one, or choose another folder.
        """)
    }
    self.descriptor = descriptor
    // Only for the message above; a disk too full for it does not matter.
    let text = Array("\(getpid())\n".utf8)
    if ftruncate(descriptor, 0) == 0 {
      _ = unsafe text.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }
  }

  deinit {
    // Closing alone does not: a child that is just being started has the descriptor too.
    flock(descriptor, LOCK_UN)
    Glibc.close(descriptor)
  }

  private static func read(_ descriptor: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 32)
    let count = unsafe bytes.withUnsafeMutableBytes {
      unsafe pread(descriptor, $0.baseAddress, $0.count, 0)
    }
    let digits = bytes.prefix(max(0, count)).prefix { $0 >= 0x30 && $0 <= 0x39 }
    return digits.isEmpty ? "unknown" : String(decoding: digits, as: UTF8.self)
  }

  private static func make(_ folder: String) throws {
    guard unsafe mkdir(folder, 0o700) != 0 else {
      syncParent(of: folder)
      return
    }
    switch errno {
    case EEXIST:
      return
    case ENOENT:
      let parent = parent(of: folder)
      guard parent != folder else { break }
      try make(parent)
      guard unsafe mkdir(folder, 0o700) != 0 && errno != EEXIST else {
        syncParent(of: folder)
        return
      }
    default:
      break
    }
    throw StoreError(.io, "The data folder \(folder) cannot be made: \(systemMessage()).")
  }

  /// Makes the folder's name durable.
  private static func syncParent(of folder: String) {
    let descriptor = unsafe open(parent(of: folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    Glibc.close(descriptor)
  }

  private static func parent(of folder: String) -> String {
    var path = Substring(folder)
    while path.count > 1 && path.last == "/" { path.removeLast() }
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  private static func systemMessage() -> String {
    unsafe String(cString: strerror(errno))
  }
}
