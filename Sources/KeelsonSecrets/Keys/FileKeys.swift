import Glibc
package import KeelsonCore
package import KeelsonCrypto
import Synchronization

/// Keys that wrap data keys, from files: a folder with a file `<id>.key` for each, or one file.
///
/// The newest is current, by the time of its last change and, where that is the same, by its
/// identifier, unless one is named. Files are looked at when keys are used, once a second at most:
/// a key that is put there is in use then, and one that is broken leaves those that were good.
package final class FileKeys: KeyEncryptionKeys {
  /// How often the files are looked at, at most.
  static let lookInterval: Duration = .seconds(1)

  private struct State {
    var keys: LocalKeys
    var signature: FolderSignature?
    var looked: ContinuousClock.Instant
    var failure: String?
  }

  /// Where the keys are, for sentences.
  package let path: String
  private let named: String?
  private let logger: Logger
  private let now: @Sendable () -> ContinuousClock.Instant
  private let state: Mutex<State>

  /// - Parameters:
  ///   - path: a folder, or a file.
  ///   - current: which key is to be used; nil: the newest.
  /// - Throws: ``CryptoError``: missingKey, malformed, unavailable.
  package convenience init(path: String, current: String?, logger: Logger) throws(CryptoError) {
    try self.init(path: path, current: current, logger: logger, now: { .now })
  }

  init(
    path: String, current: String?, logger: Logger,
    now: @escaping @Sendable () -> ContinuousClock.Instant
  ) throws(CryptoError) {
    self.now = now
    self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    named = current
    self.logger = logger
    let signature = Self.signature(self.path)
    let keys = try Self.read(self.path, current: current, logger: logger)
    state = Mutex(State(keys: keys, signature: signature, looked: now()))
  }

  package var currentID: String { held.currentID }

  package func refresh() async throws { await look(isForced: true) }

  package func wrap(_ key: [UInt8]) async throws -> WrappedKey {
    await look()
    return try await held.wrap(key)
  }

  package func unwrap(_ wrapped: WrappedKey) async throws -> [UInt8] {
    await look()
    do {
      return try await held.unwrap(wrapped)
    } catch let error as CryptoError where error.code == .missingKey {
      // Somebody may have given it back this very moment.
      await look(isForced: true)
      return try await held.unwrap(wrapped)
    }
  }

  private var held: LocalKeys { state.withLock { $0.keys } }

  /// Looks at the files, on their queue, unless that was done a moment ago.
  private func look(isForced: Bool = false) async {
    let moment = now()
    let isDue = state.withLock { state in
      guard isForced || state.looked.duration(to: moment) >= Self.lookInterval else { return false }
      state.looked = moment
      return true
    }
    guard isDue else { return }
    // Cancelled: what was held is good.
    try? await FileQueue.run { self.readIfChanged() }
  }

  private func readIfChanged() {
    let signature = Self.signature(path)
    guard state.withLock({ $0.signature != signature }) else { return }
    do throws(CryptoError) {
      let keys = try Self.read(path, current: named, logger: logger)
      state.withLock { state in
        (state.keys, state.signature, state.failure) = (keys, signature, nil)
      }
      logger.log(
        .info, "The encryption keys were loaded anew.",
        ["path": path, "current": keys.currentID])
    } catch {
      // Tried again at the next look: it may be the system that could not read.
      let message = error.message
      let isNews = state.withLock { state in
        defer { state.failure = message }
        return state.failure != message
      }
      guard isNews else { return }
      logger.log(
        .error, "The changed encryption keys are not used, the old ones stay: \(message)")
    }
  }

  private static func signature(_ path: String) -> FolderSignature? {
    SecretFolder.isFolder(path) ? FolderSignature(folder: path) : FolderSignature(files: [path])
  }

  // MARK: Files

  private static let ending = ".key"

  private static func read(
    _ path: String, current: String?, logger: Logger
  ) throws(CryptoError) -> LocalKeys {
    do {
      return try read(files(path), in: path, current: current, logger: logger)
    } catch {
      throw CryptoError(error.code == .missing ? .missingKey : .unavailable, error.message)
    }
  }

  private static func files(_ path: String) throws(SecretStoreError) -> [String] {
    guard SecretFolder.isFolder(path) else { return [path] }
    let names = try SecretFolder.names(path, what: "folder of keys")
    return names.filter { $0.hasSuffix(ending) }.map { "\(path)/\($0)" }
  }

  private static func read(
    _ files: [String], in path: String, current: String?, logger: Logger
  ) throws(SecretStoreError) -> LocalKeys {
    var found: [KeyFile] = []
    for path in files {
      let file = try KeyFile(path)
      if let warning = file.warning { logger.log(.warning, warning) }
      found.append(file)
    }
    guard let newest = found.max() else {
      throw SecretStoreError(
        .missing,
        "The folder of keys \(path) has no file that ends in \(ending): put one there ('openssl rand "
          + "-base64 32 > \(path)/1\(ending)', then chmod 0600).")
    }
    let keys = Dictionary(found.map { ($0.id, $0.key) }) { _, last in last }
    do {
      return try LocalKeys(keys, currentID: current ?? newest.id)
    } catch {
      throw SecretStoreError(error.code == .missingKey ? .missing : .malformed, error.message)
    }
  }

  /// One key, ordered by when it was changed last.
  private struct KeyFile: Comparable {
    let id: String
    let key: [UInt8]
    let warning: String?
    private let seconds: Int
    private let nanoseconds: Int

    init(_ path: String) throws(SecretStoreError) {
      let file = try SecretFile(path, what: "key file")
      warning = file.warning
      let name = path.split(separator: "/").last.map(String.init) ?? path
      id = name.hasSuffix(ending) ? String(name.dropLast(ending.count)) : name
      var status = stat()
      _ = unsafe stat(path, &status)
      (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
      do {
        key = try KeyText.key(file.value, name: "The key file \(path)")
      } catch {
        throw SecretStoreError(.malformed, error.message)
      }
    }

    static func < (lhs: KeyFile, rhs: KeyFile) -> Bool {
      (lhs.seconds, lhs.nanoseconds, lhs.id) < (rhs.seconds, rhs.nanoseconds, rhs.id)
    }
  }
}

extension FileKeys {
  /// Makes a first key in a folder that has none; the folder too, when it is not there.
  ///
  /// Meant for the embedded store, whose data lies beside it: whoever copies one copies both.
  ///
  /// - Returns: the file that was made; nil when there was a key.
  /// - Throws: ``CryptoError`` with code unavailable or system.
  package static func makeFirst(inFolder folder: String, now: UnixTime = .now) throws(CryptoError)
    -> String?
  {
    func failure(_ what: String, _ path: String) -> CryptoError {
      CryptoError(
        .unavailable,
        "\(what) \(path) cannot be made: \(unsafe String(cString: strerror(errno))).")
    }
    if unsafe mkdir(folder, 0o700) == 0 {
      // A folder is there for good once the one that it is in says so.
      let parent = folder.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      let path = parent.isEmpty ? "." : parent.joined(separator: "/")
      guard isFlushed(path.isEmpty ? "/" : path) else {
        throw failure("The folder of keys", folder)
      }
    } else if errno != EEXIST {
      throw failure("The folder of keys", folder)
    }
    guard try !hasKey(folder) else { return nil }
    // Identifiers that sort as they were made: 2026-11-25T101500Z.
    let id = now.description.prefix(19).filter { $0 != ":" } + "Z"
    let path = "\(folder)/\(id)\(ending)"
    let key = try AES256GCM.makeKey()
    let text = Base64.encode(key.span, isPadded: true) + [0x0A]
    // Whole or not at all, whenever the machine stops.
    let draft = "\(folder)/.\(id)\(ending)"
    let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("The key file", path) }
    let isWritten =
      unsafe write(descriptor, text, text.count) == text.count && fsync(descriptor) == 0
    close(descriptor)
    guard isWritten, unsafe rename(draft, path) == 0, isFlushed(folder) else {
      throw failure("The key file", path)
    }
    return path
  }

  /// Whether a folder has a key; one that is not there has none.
  ///
  /// - Throws: ``CryptoError`` with code unavailable when it cannot be looked at: it must not be taken
  ///   for one without.
  package static func hasKey(inFolder folder: String) throws(CryptoError) -> Bool {
    guard unsafe access(folder, F_OK) == 0 || errno != ENOENT else { return false }
    return try hasKey(folder)
  }

  private static func hasKey(_ folder: String) throws(CryptoError) -> Bool {
    do {
      return try SecretFolder.names(folder, what: "folder of keys").contains {
        $0.hasSuffix(ending)
      }
    } catch {
      throw CryptoError(.unavailable, error.message)
    }
  }

  private static func isFlushed(_ folder: String) -> Bool {
    let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    return fsync(descriptor) == 0
  }
}
