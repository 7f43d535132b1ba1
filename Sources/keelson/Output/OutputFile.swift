import Glibc
import KeelsonCore

/// A file that a command writes piece by piece: beside its place, and moved there when it is whole.
///
/// A symbolic link stays one: what it leads to is written. What is no file (a pipe, a terminal,
/// `/dev/null`) is written as it is.
final class OutputFile {
  private var descriptor: Int32
  /// Where it will lie; nil for what is written as it is.
  private var place: String?
  /// Where it lies until it is whole.
  private var beside = ""
  /// For sentences.
  private let name: String

  /// - Parameter path: nil, or `-`: standard output.
  /// - Throws: `RPCError` that says why it cannot be written.
  init(_ path: String?) throws {
    guard let path, path != "-" else {
      descriptor = STDOUT_FILENO
      name = "The output"
      return
    }
    name = "The file \(path)"
    var status = stat()
    if unsafe stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY)
    } else {
      let place = try Self.target(of: path)
      var template = Array("\(place).XXXXXX".utf8CString)
      // A name that nobody can have put something at (O_EXCL), readable for its owner only.
      descriptor = unsafe mkstemp(&template)
      beside = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
      self.place = place
    }
    guard descriptor >= 0 else { throw InputFile.failure("\(name) cannot be written") }
  }

  deinit {
    guard place != nil, descriptor >= 0 else { return }
    close(descriptor)
    _ = unsafe unlink(beside)
  }

  func write(_ bytes: [UInt8]) throws {
    guard Output.write(bytes, to: descriptor) else {
      throw InputFile.failure("\(name) cannot be written")
    }
  }

  /// Makes sure that it is on the disk, and moves it to its place.
  func finish() throws {
    guard let place else { return }
    guard fsync(descriptor) == 0 else { throw InputFile.failure("\(name) cannot be written") }
    guard unsafe rename(beside, place) == 0 else {
      throw InputFile.failure("\(name) cannot be written")
    }
    close(descriptor)
    descriptor = -1
  }

  /// Where the symbolic links of a path lead, whether or not there is something.
  private static func target(of path: String) throws -> String {
    var path = path
    for _ in 0..<40 {
      var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
      let count = unsafe readlink(path, &bytes, bytes.count)
      guard count >= 0 else { return path }
      let link = String(
        decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      let folder = path.lastIndex(of: "/").map { path[...$0] } ?? ""
      path = link.hasPrefix("/") ? link : folder + link
    }
    errno = ELOOP
    throw InputFile.failure("The file \(path) cannot be written")
  }
}
