import Glibc
import KeelsonCore

/// A file that a command reads piece by piece.
final class InputFile {
  /// A text file over this size is none that a command takes whole.
  private static let maximumTextBytes = 16 << 20

  private let path: String
  private let descriptor: Int32

  /// - Parameter isReadAgain: whether it is to be the same when it is opened once more, which what
  ///   comes out of a pipe is not.
  /// - Throws: `RPCError` that says why it cannot be read.
  init(_ path: String, isReadAgain: Bool = false) throws {
    self.path = path
    // Before it is opened, since opening a pipe waits for somebody to write into it.
    if isReadAgain { try Self.checkIsRegular(path) }
    descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Self.failure("The file \(path) cannot be read") }
  }

  deinit {
    close(descriptor)
  }

  private static func checkIsRegular(_ path: String) throws {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw failure("The file \(path) cannot be read") }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw RPCError(
        .invalidArgument,
        "\(path) is not a regular file, and it has to be read twice: save it to a file first.")
    }
  }

  /// The next piece; empty at the end.
  func read(_ count: Int = 256 << 10) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    while true {
      let read = unsafe Glibc.read(descriptor, &bytes, count)
      if read < 0, errno == EINTR { continue }
      guard read >= 0 else { throw Self.failure("The file \(path) cannot be read") }
      bytes.removeLast(count - read)
      return bytes
    }
  }

  /// All of a small text file.
  static func text(_ path: String) throws -> String {
    let file = try InputFile(path)
    var bytes: [UInt8] = []
    while bytes.count <= maximumTextBytes {
      let piece = try file.read()
      if piece.isEmpty { return String(decoding: bytes, as: UTF8.self) }
      bytes += piece
    }
    throw RPCError(.invalidArgument, "The file \(path) is too large to be what is wanted here.")
  }

  /// All of a small text file; nil when there is no such file.
  static func textIfThere(_ path: String) throws -> String? {
    guard unsafe access(path, F_OK) == 0 || errno != ENOENT else { return nil }
    return try text(path)
  }

  static func failure(_ what: String) -> RPCError {
    RPCError(.unknown, "\(what): \(unsafe String(cString: strerror(errno))).")
  }
}
