import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonTransport

/// Checks an export or an archive here, without a server.
struct AuditFileCheck {
  static let manifestSuffix = AuditArchiveManifest.fileSuffix

  /// What came out.
  struct Report {
    var path: String
    var file: AuditFileVerifier.Report
    /// Of an archive with its manifest.
    var manifest: AuditArchiveManifest?
    /// Whether a key that was given signed the manifest.
    var isManifestSigned = false
    var failure: AuditChainBreak?

    var isValid: Bool { failure == nil }
  }

  private let checkpoints: [AuditCheckpoint]
  private let keys: [String: VerifyingKey]
  private let isFiltered: Bool
  private let manifestPath: String?

  /// Reads what the file is checked against.
  ///
  /// - Throws: `UsageError`; `RPCError` that says which file is no good and why.
  init(_ invocation: Invocation) throws {
    var keys: [String: VerifyingKey] = [:]
    for path in invocation.all("public-key") {
      do {
        let key = try VerifyingKey(pem: try InputFile.text(path))
        keys[key.id] = key
      } catch let error as CryptoError {
        throw RPCError(.invalidArgument, "The public key \(path) cannot be used: \(error.message)")
      }
    }
    let paths = invocation.all("checkpoint")
    guard paths.isEmpty || !keys.isEmpty else {
      throw UsageError("--checkpoint needs --public-key: a checkpoint counts by its signature.")
    }
    checkpoints = try paths.flatMap { try Self.checkpoints(in: $0, keys: keys) }
    self.keys = keys
    isFiltered = invocation.has("filtered")
    manifestPath = invocation.option("manifest")
  }

  func run(_ path: String) throws -> Report {
    do {
      return try check(path)
    } catch let error as AuditFileError {
      throw RPCError(.invalidArgument, "\(path): \(error.message)")
    }
  }

  private func check(_ path: String) throws -> Report {
    let input = try InputFile(path)
    var bytes = try input.read()
    var verifier = AuditFileVerifier(isFiltered: isFiltered, checkpoints: checkpoints)
    let isArchive = GzipDecompressor.isGzip(bytes)
    let decompressor = isArchive ? try GzipDecompressor() : nil
    let hash = SHA256Stream()
    var size: Int64 = 0
    var damage: AuditFileError?
    while !bytes.isEmpty {
      hash.update(bytes)
      size += Int64(bytes.count)
      do {
        if let decompressor {
          try decompressor.decompress(bytes) { try verifier.read($0) }
        } else {
          try verifier.read(bytes)
        }
      } catch let error as AuditFileError {
        // A file of entries that is damaged further on names where.
        guard verifier.report.entries > 0 else { throw error }
        damage = damage ?? error
        break
      }
      bytes = try input.read()
    }
    if damage == nil, let decompressor, verifier.report.failure == nil {
      do { try decompressor.finish() } catch { damage = error }
    }
    var report = Report(
      path: path, file: damage == nil ? try verifier.finish() : verifier.report)
    report.failure = report.file.failure
    if let damage, report.failure == nil {
      let next = report.file.lastSequence + 1
      report.failure = AuditChainBreak(
        sequence: next, kind: .unreadable,
        message: "\(damage.message) Up to entry \(next - 1) everything fits.")
    }
    if isArchive, let text = try manifestText(of: path) {
      let manifest = try AuditArchiveManifest(parsing: text)
      report.manifest = manifest
      try check(manifest, &report, size: size, hash: hash.finish())
    } else if isArchive, !keys.isEmpty, report.failure == nil {
      report.failure = AuditChainBreak(
        sequence: report.file.firstSequence, kind: .missing,
        message: """
          The archive's manifest \(path)\(Self.manifestSuffix) is missing, so nothing shows that a \
          key signed the archive: put it there or name it with --manifest.
          """)
    } else if !isArchive, manifestPath != nil {
      throw UsageError("--manifest is for archives; \(path) is none.")
    } else if !isArchive, !keys.isEmpty, checkpoints.isEmpty {
      throw UsageError(
        "--public-key is for archives and checkpoints: nothing in an export is signed. Give the "
          + "--checkpoint that \(path) has to reach.")
    }
    return report
  }

  /// Compares an archive with its manifest.
  private func check(
    _ manifest: AuditArchiveManifest, _ report: inout Report, size: Int64, hash: [UInt8]
  ) throws {
    func fail(_ message: String) {
      guard report.failure == nil else { return }
      report.failure = AuditChainBreak(
        sequence: manifest.firstSequence, kind: .content, message: message)
    }
    if let key = keys[manifest.keyID] {
      if manifest.isSigned(by: key) {
        report.isManifestSigned = true
      } else {
        fail("The signature of the archive's manifest does not fit.")
      }
    } else if !keys.isEmpty {
      fail("The archive's manifest was signed by key \(manifest.keyID), not by one that was given.")
    }
    if report.failure == nil, size != manifest.sizeBytes || hash != manifest.fileHash {
      fail("The file is not the one that the archive's manifest was signed for.")
    }
    if report.file.lastHash != manifest.lastHash || report.file.entries != manifest.entries
      || report.file.previousHash != manifest.previousHash
    {
      fail("The file has other entries than the archive's manifest says.")
    }
  }

  private func manifestText(of path: String) throws -> String? {
    if let manifestPath { return try InputFile.text(manifestPath) }
    return try InputFile.textIfThere(path + Self.manifestSuffix)
  }

  /// The manifest's file of an archive that a server described.
  static func manifest(of archive: KeelsonAuditV1.Archive) -> String {
    JSONValue.object([
      "signed_text": .string(archive.signedText),
      "signature": .string(Hexadecimal.text(archive.signature)),
    ]).text
  }

  // MARK: Checkpoints

  /// The checkpoints in a file as `keelson audit checkpoints --output json` prints them.
  private static func checkpoints(
    in path: String, keys: [String: VerifyingKey]
  ) throws -> [AuditCheckpoint] {
    func unusable(_ reason: String) -> RPCError {
      RPCError(.invalidArgument, "The checkpoint \(path) cannot be used: \(reason)")
    }
    guard case .object(let members)? = try? JSONValue(parsing: try InputFile.text(path)) else {
      throw unusable("it is no JSON as 'keelson audit checkpoints --output json' prints it.")
    }
    let objects: [JSONValue]
    if case .array(let list)? = members["checkpoints"] {
      objects = list
    } else {
      objects = [.object(members)]
    }
    return try objects.map { object in
      guard case .object(let members) = object, case .string(let text)? = members["signed_text"],
        case .string(let base64)? = members["signature"],
        let signature = Base64.decode(Array(base64.utf8).span)
      else {
        throw unusable("it is no JSON as 'keelson audit checkpoints --output json' prints it.")
      }
      do {
        let checkpoint = try AuditCheckpoint(signedText: text, signature: signature)
        guard let key = keys[checkpoint.keyID] else {
          throw unusable("it was signed by key \(checkpoint.keyID), not by one that was given.")
        }
        guard checkpoint.isSigned(by: key) else { throw unusable("its signature does not fit.") }
        return checkpoint
      } catch let error as AuditFileError {
        throw unusable(error.message)
      }
    }
  }
}
