import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

extension AuditVerification {
  /// Walks the archives: each is signed and follows the one before, and where the last one ends is
  /// where the database says that archived entries end. Those whose file lies here are read.
  ///
  /// - Parameter start: files of entries before this number are left out.
  func checkArchives(_ walk: inout VerificationWalk, from start: Int64) async throws {
    let archived = walk.archived
    var end = AuditChain()
    try walk.know(endOfArchive: end)
    while end.sequence < archived.sequence {
      let after = end.sequence
      let page = try await database.read {
        try await AuditRepository.archives(
          after: after, upTo: archived.sequence, limit: Self.pageSize, in: $0)
      }
      guard !page.isEmpty else { break }
      for stored in page {
        try Task.checkCancellation()
        let manifest = try manifest(of: stored)
        let isTrusted = trusted.contains(manifest.keyID)
        walk.know(key: manifest.keyID, isTrusted: isTrusted)
        guard isTrusted else {
          throw AuditChainBreak(
            sequence: manifest.firstSequence, kind: .content,
            message: """
              Only key \(manifest.keyID) vouches for entries \(manifest.firstSequence) to \
              \(manifest.lastSequence), in the archive '\(stored.name)', and this server does not \
              trust that key. If another server of yours signs with it, or this one did, put its \
              public key into the file of trusted audit keys.
              """)
        }
        guard manifest.firstSequence == end.sequence + 1, manifest.previousHash == end.hash else {
          throw AuditChainBreak(
            sequence: end.sequence + 1, kind: .missing,
            message: """
              The archive '\(stored.name)' does not follow the one that ends with entry \
              \(end.sequence): an archive between them is missing, or was exchanged.
              """)
        }
        end = AuditChain(sequence: manifest.lastSequence, hash: manifest.lastHash)
        try walk.know(endOfArchive: end)
        if manifest.lastSequence >= start, manifest.firstSequence <= walk.report.end {
          try await checkFile(of: manifest, &walk)
        }
      }
    }
    guard end == archived else {
      throw AuditChainBreak(
        sequence: end.sequence + 1, kind: .missing,
        message: """
          The database says that the entries up to \(archived.sequence) are archived, but the \
          archives end with entry \(end.sequence).
          """)
    }
  }

  private func manifest(of stored: StoredArchive) throws(AuditChainBreak) -> AuditArchiveManifest {
    do {
      return try stored.manifest(keys)
    } catch {
      throw AuditChainBreak(
        sequence: stored.firstSequence, kind: .content,
        message: "The archive '\(stored.name)' is not what was signed: \(error.message)")
    }
  }

  /// Reads an archive's file if it lies here: it is the one that was signed, checkpoints within it
  /// fit, and what is kept of its entries is what was archived.
  private func checkFile(
    of manifest: AuditArchiveManifest, _ walk: inout VerificationWalk
  ) async throws {
    guard let input = try AuditFileInput("\(archiveFolder)/\(manifest.name)") else {
      walk.know(unread: manifest.name)
      return
    }
    var reader = AuditFileReader()
    let decompressor = try GzipDecompressor()
    let hash = SHA256Stream()
    var size: Int64 = 0
    var chain = AuditChain(sequence: manifest.firstSequence - 1, hash: manifest.previousHash)
    // Of the entries that were read since the last comparison: their hashes, without a gap.
    var hashes: [[UInt8]] = []
    var erasures: [String] = []
    do {
      while true {
        try Task.checkCancellation()
        let bytes = try input.read()
        hash.update(bytes)
        size += Int64(bytes.count)
        try decompressor.decompress(bytes) { piece in
          try reader.read(piece) { item, _ in
            guard case .entry(let entry) = item else { return }
            do throws(AuditChainBreak) {
              try chain.verify(entry)
            } catch {
              throw AuditChainBreak(
                sequence: error.sequence, kind: error.kind,
                message: "In the file of the archive '\(manifest.name)': \(error.message)")
            }
            hashes.append(entry.hash)
            if entry.isErasure { erasures.append(entry.entityID) }
          }
        }
        if hashes.count >= Self.pageSize || bytes.isEmpty {
          try await compare(hashes, upTo: chain.sequence, &walk)
          hashes.removeAll(keepingCapacity: true)
        }
        if bytes.isEmpty { break }
      }
      try decompressor.finish()
      try reader.finish()
    } catch let error as AuditFileError {
      throw AuditChainBreak(
        sequence: chain.sequence + 1, kind: .unreadable,
        message: "The file of the archive '\(manifest.name)' is damaged: \(error.message)")
    }
    for key in erasures { walk.know(archivedErasureOf: key) }
    guard size == manifest.sizeBytes, hash.finish() == manifest.fileHash,
      chain == AuditChain(sequence: manifest.lastSequence, hash: manifest.lastHash)
    else {
      throw AuditChainBreak(
        sequence: manifest.firstSequence, kind: .content,
        message: "The file of the archive '\(manifest.name)' is not the one that was signed.")
    }
  }

  /// Compares archived entries with checkpoints and with what is kept of them.
  private func compare(
    _ hashes: [[UInt8]], upTo last: Int64, _ walk: inout VerificationWalk
  ) async throws {
    let first = last - Int64(hashes.count) + 1
    for (index, hash) in hashes.enumerated() { try walk.compare(first + Int64(index), hash) }
    guard first <= last else { return }
    let kept = try await database.read {
      try await AuditRepository.keptHashes(from: first, upTo: last, in: $0)
    }
    for entry in kept where entry.hash != hashes[Int(entry.sequence - first)] {
      walk.report.failedID = entry.id
      throw AuditChainBreak(
        sequence: entry.sequence, kind: .content,
        message: "Entry \(entry.sequence) is not the one that was archived.")
    }
  }
}
