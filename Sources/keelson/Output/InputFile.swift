import Glibc
import KeelsonCore

/// A file that a command reads piece by piece.
final class InputFile {
  /// A text file over this size is none that a command takes whole.
  private static let maximumTextBytes = 16 << 20

  private let path: String
  private let descriptor: Int32

  /// - Throws: `RPCError` that says why it cannot be read.
  init(_ path: String) throws {
    self.path = path
    descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Self.failure("The file \(path) cannot be read") }
  }

  deinit {
    close(descriptor)
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

  fileprivate static func failure(_ what: String) -> RPCError {
    RPCError(.unknown, "\(what): \(unsafe String(cString: strerror(errno))).")
  }
}

/// A file that a command writes piece by piece: beside its place, and moved there when it is whole.
final class OutputFile {
  /// nil: standard output.
  private let path: String?
  private var descriptor: Int32
  private var beside: String { "\(path ?? "").part" }

  /// - Throws: `RPCError` that says why it cannot be written.
  init(_ path: String?) throws {
    self.path = path
    guard let path else {
      descriptor = STDOUT_FILENO
      return
    }
    descriptor = unsafe open(path + ".part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw InputFile.failure("The file \(path) cannot be written") }
  }

  deinit {
    guard path != nil, descriptor >= 0 else { return }
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
      guard count > 0 else {
        throw InputFile.failure(
          "\(path.map { "The file \($0)" } ?? "The output") cannot be written")
      }
      rest = rest.dropFirst(count)
    }
  }

  /// Moves it to its place.
  func finish() throws {
    guard let path else { return }
    close(descriptor)
    descriptor = -1
    guard unsafe rename(beside, path) == 0 else {
      throw InputFile.failure("The file \(path) cannot be written")
    }
  }
}
