import Glibc
import KeelsonCore

/// One file with a secret, read whole.
struct SecretFile {
  /// As large as a secret of Kubernetes may be.
  static let maximumBytes = 1 << 20

  let value: SecretValue
  /// What is wrong with the permissions; nil: nothing.
  let warning: String?

  /// - Parameter what: what the file is for: `token file`.
  /// - Throws: ``SecretStoreError``: missing, denied or settings.
  init(_ path: String, what: String) throws(SecretStoreError) {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.failure(errno, "The \(what) \(path)") }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw Self.failure(errno, "The \(what) \(path)")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw SecretStoreError(.settings, "The \(what) \(path) is no regular file: name a file.")
    }
    guard status.st_size <= Self.maximumBytes else {
      throw SecretStoreError(
        .settings,
        "The \(what) \(path) has \(status.st_size) bytes, more than the limit of "
          + "\(Self.maximumBytes) for a secret.")
    }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    defer {
      unsafe chunk.withUnsafeMutableBytes { unsafe explicit_bzero($0.baseAddress!, $0.count) }
    }
    while bytes.count <= Self.maximumBytes {
      let count = unsafe read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw Self.failure(errno, "The \(what) \(path)") }
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    value = SecretValue(bytes)
    warning = Self.warning(path, mode: status.st_mode)
  }

  /// As text: one line end at its end belongs to the editor that wrote the file, not to the
  /// secret.
  var line: SecretValue {
    var bytes = value.bytes
    if bytes.last == 0x0A { bytes.removeLast() }
    if bytes.last == 0x0D { bytes.removeLast() }
    return SecretValue(bytes)
  }

  private static func warning(_ path: String, mode: mode_t) -> String? {
    if mode & 0o022 != 0 {
      return "\(path) may be changed by others than its owner: chmod 0600, or 0400."
    }
    if mode & 0o004 != 0 { return "\(path) may be read by anybody on this machine: chmod 0600." }
    return nil
  }

  static func failure(_ number: Int32, _ what: String) -> SecretStoreError {
    let reason = unsafe String(cString: strerror(number))
    switch number {
    case ENOENT, ENOTDIR:
      return SecretStoreError(.missing, "\(what) is not there.", cause: reason)
    case EACCES, EPERM:
      return SecretStoreError(
        .denied, "\(what) may not be read by the user that Keelson runs as: give it to that user.",
        cause: reason)
    default:
      return SecretStoreError(.failed, "\(what) cannot be read: \(reason).", cause: reason)
    }
  }
}
