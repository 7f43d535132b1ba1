import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// Moves entries to archives: writes the file, reads it back, and only then lets the database
/// forget. What goes wrong before leaves everything as it was.
///
/// Several nodes may try at the same time; the archived position moves once, and who comes second
/// throws its file away.
struct Archiver: Sendable {
  let database: any Database
  let key: SigningKey
  let folder: String
  let limits: AuditLimits

  struct Result: Sendable {
    var archives: [AuditArchiveManifest] = []
    var archived: Int64 = 0
    var deleted: Int64 = 0
  }

  /// Entries that are read, or deleted, at once.
  private static let pageSize = 1_000
  private static let deletionStep: Int64 = 2_000

  /// Archives what was recorded before a time, and deletes what the rules have let go of.
  ///
  /// - Throws: `StoreError`; ``AuditFolderError``; `AuditChainBreak` when the entries do not fit
  ///   together: what somebody has tampered with is not archived and not deleted.
  func run(
    before time: UnixTime?, rules: RetentionRules, now: UnixTime, origin: ChangeOrigin,
    onlyTells: Bool
  ) async throws -> Result {
    var result = Result()
    let (start, last) = try await range(before: time)
    if onlyTells {
      result.archived = max(0, last - start.sequence)
      result.deleted = try await countExpired(upTo: max(last, start.sequence), rules, now)
      return result
    }
    var chain = start
    while chain.sequence < last {
      try Task.checkCancellation()
      let end = min(last, chain.sequence + Int64(limits.entriesPerArchive))
      guard let archive = try await archive(after: chain, upTo: end, origin: origin) else { break }
      result.archives.append(archive)
      result.archived += archive.entries
      chain = AuditChain(sequence: archive.lastSequence, hash: archive.lastHash)
    }
    result.deleted = try await deleteExpired(rules, now)
    return result
  }

  /// Where archiving goes on, and the last entry that was recorded before the time.
  private func range(before time: UnixTime?) async throws -> (AuditChain, Int64) {
    try await database.read { transaction in
      let start = try await AuditRepository.archivedChain(in: transaction)
      guard let time else { return (start, 0) }
      let row = try await transaction.first(
        """
        SELECT sequence FROM audit_entries WHERE time < $1 ORDER BY time DESC, sequence DESC LIMIT 1
        """, [SQLValue(time)])
      return (start, try row?.get(0) ?? 0)
    }
  }

  // MARK: Writing

  private func archive(
    after start: AuditChain, upTo end: Int64, origin: ChangeOrigin
  ) async throws -> AuditArchiveManifest? {
    try AuditFolder.make(folder)
    // Nodes that share the folder may be at the same entries.
    let name = AuditArchiveManifest.fileName(
      first: start.sequence + 1, last: end, tag: String(UUIDv7.make().suffix(8)))
    let path = "\(folder)/\(name)"
    let output = try AuditFileOutput(path, mode: 0o600)
    let written = try await write(to: output, after: start, upTo: end)
    let manifest = try readBack(output.pathBeside, name: name, start, written)
      .signed(by: key)
    // In their places before the database knows of them.
    try output.finish()
    let manifestPath = path + AuditArchiveManifest.fileSuffix
    let beside = try AuditFileOutput(manifestPath, mode: 0o600)
    try beside.write(Array((manifest.json.text + "\n").utf8))
    try beside.finish()
    guard try await commit(manifest, origin: origin) else {
      AuditFolder.remove([path, manifestPath])
      return nil
    }
    return manifest
  }

  private struct Written {
    var chain: AuditChain
    var entries: Int64
    var firstTime: UnixTime
    var lastTime: UnixTime
  }

  private func write(
    to output: AuditFileOutput, after start: AuditChain, upTo end: Int64
  ) async throws -> Written {
    var writer = AuditFileWriter(
      .ndjson,
      AuditFileHeader(isFiltered: false, afterSequence: start.sequence, time: .now))
    let compressor = try GzipCompressor()
    var chain = start
    var times: (first: UnixTime, last: UnixTime)?
    var pace = ReadPace(most: Self.pageSize, bytes: limits.readBytes)
    while chain.sequence < end {
      try Task.checkCancellation()
      let (position, count) = (chain.sequence, pace.count)
      let entries = try await database.read {
        try await AuditEntries.select(after: position, limit: count, in: $0)
      }
      pace.took(entries)
      for entry in entries where entry.sequence <= end {
        try chain.verify(entry)
        writer.add(entry)
        times = (times?.first ?? entry.time, entry.time)
      }
      guard chain.sequence > position else {
        throw AuditChainBreak(
          sequence: position + 1, kind: .missing, message: "Entry \(position + 1) is missing.")
      }
      try output.write(compressor.compress(writer.bytes))
      writer.bytes.removeAll(keepingCapacity: true)
    }
    writer.finish()
    try output.write(compressor.compress(writer.bytes, isLast: true))
    try output.synchronize()
    let none = UnixTime(microseconds: 0)
    return Written(
      chain: chain, entries: writer.entries, firstTime: times?.first ?? none,
      lastTime: times?.last ?? none)
  }

  /// Reads what is on the disk and makes sure that it says what was meant.
  private func readBack(
    _ path: String, name: String, _ start: AuditChain, _ written: Written
  ) throws -> AuditArchiveManifest {
    guard let input = try AuditFileInput(path) else {
      throw AuditFolderError("The archive \(name) has gone while it was being written.")
    }
    let hash = SHA256Stream()
    let decompressor = try GzipDecompressor()
    var verifier = AuditFileVerifier()
    var size: Int64 = 0
    while true {
      let bytes = try input.read()
      guard !bytes.isEmpty else { break }
      hash.update(bytes)
      size += Int64(bytes.count)
      try decompressor.decompress(bytes) { try verifier.read($0) }
    }
    try decompressor.finish()
    let report = try verifier.finish()
    guard report.failure == nil, report.entries == written.entries,
      report.lastHash == written.chain.hash, report.previousHash == start.hash
    else {
      throw AuditFolderError(
        "The archive \(name) cannot be read back as it was written: check the disk. Nothing was "
          + "deleted.")
    }
    return AuditArchiveManifest(
      name: name, firstSequence: start.sequence + 1, lastSequence: written.chain.sequence,
      entries: written.entries, firstTime: written.firstTime, lastTime: written.lastTime,
      previousHash: start.hash, lastHash: written.chain.hash, sizeBytes: size,
      fileHash: hash.finish(), createTime: .now, keyID: "")
  }

  /// Moves the archived position, and says so in the trail and in an event.
  ///
  /// - Returns: false when another node was quicker.
  private func commit(
    _ manifest: AuditArchiveManifest, origin: ChangeOrigin
  ) async throws -> Bool {
    do {
      try await database.change(origin) { change in
        guard try await AuditRepository.insert(manifest, in: change) else { throw TakenOver() }
        let about: [String: JSONValue] = [
          "archive": .string(manifest.name),
          "first_sequence": JSONValue(number: manifest.firstSequence),
          "last_sequence": JSONValue(number: manifest.lastSequence),
          "entries": JSONValue(number: manifest.entries),
          "size_bytes": JSONValue(number: manifest.sizeBytes),
        ]
        change.audit(
          AuditDraft(
            action: "audit.archived", entityType: "audit_archive", entityID: manifest.name,
            after: JSONText(.object(about)), category: "critical"))
        change.emit(
          EventDraft(
            type: AuditEventType.logsArchived, subject: manifest.name,
            data: JSONText(.object(about))))
      }
      return true
    } catch is TakenOver {
      return false
    }
  }

  /// Another node has archived the same entries.
  private struct TakenOver: Error {}

  // MARK: Deleting

  private func countExpired(
    upTo last: Int64, _ rules: RetentionRules, _ now: UnixTime
  ) async throws -> Int64 {
    guard let expiry = rules.expiry(at: now, first: 2) else { return 0 }
    let row = try await database.read {
      try await $0.first(
        "SELECT count(*) FROM audit_entries WHERE sequence <= $1 AND \(expiry.sql)",
        [.integer(last)] + expiry.parameters)
    }
    return try row?.get(0) ?? 0
  }

  /// Deletes archived entries whose time is over, in steps that let changes pass in between.
  private func deleteExpired(_ rules: RetentionRules, _ now: UnixTime) async throws -> Int64 {
    guard let expiry = rules.expiry(at: now, first: 3) else { return 0 }
    let (oldest, archived) = try await database.read { transaction in
      (
        try await AuditRepository.oldestSequence(in: transaction),
        try await AuditRepository.archivedChain(in: transaction).sequence
      )
    }
    guard let oldest else { return 0 }
    var deleted: Int64 = 0
    var position = oldest - 1
    while position < archived {
      try Task.checkCancellation()
      let (after, upTo) = (position, min(archived, position + Self.deletionStep))
      deleted += Int64(
        try await database.write { transaction in
          try await transaction.execute(
            "DELETE FROM audit_entries WHERE sequence > $1 AND sequence <= $2 AND \(expiry.sql)",
            [.integer(after), .integer(upTo)] + expiry.parameters)
        })
      position = upTo
    }
    return deleted
  }
}

/// The types of this service's events.
enum AuditEventType {
  /// Telemetry: one for each entry.
  static let logCreated = "keelson.audit.AuditLogCreated"
  static let logsArchived = "keelson.audit.LogsArchived"
  static let retentionUpdated = "keelson.audit.RetentionPolicyUpdated"
  static let subjectErased = "keelson.audit.SubjectErased"
}
