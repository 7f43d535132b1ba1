import KeelsonAuditTrail

/// One walk along the stored entries, with all that is known of their hashes from elsewhere. No I/O.
struct VerificationWalk: Sendable {
  private(set) var archived: AuditChain
  var report: AuditVerification.Report
  private var checkpoints = CheckpointHashes()
  /// The hashes of the entries that archives end with, as they were signed.
  private var archiveEnds: [Int64: [UInt8]] = [:]
  /// The keys of subjects of which archives say that they were erased.
  private(set) var archivedErasures: Set<String> = []
  /// The run of entries without a gap that the last one belongs to.
  private var chain: AuditChain?

  init(from start: Int64, upTo end: Int64, archived: AuditChain) {
    self.archived = archived
    report = AuditVerification.Report(start: start, end: end, archived: archived.sequence)
  }

  /// Learns of a checkpoint whose signature fits; they come in the order of their numbers.
  ///
  /// - Parameter isTrusted: its key is trusted. Another one's has to fit too, and counts for
  ///   nothing.
  mutating func know(_ checkpoint: AuditCheckpoint, isTrusted: Bool) {
    guard checkpoint.sequence <= report.end else { return }
    know(key: checkpoint.keyID, isTrusted: isTrusted)
    checkpoints.append(checkpoint, counts: isTrusted)
  }

  /// Learns of a key whose signature fits.
  mutating func know(key: String, isTrusted: Bool) {
    if isTrusted { report.reliedUpon.insert(key) } else { report.untrusted.insert(key) }
  }

  /// Learns of an archive whose file does not lie here.
  mutating func know(unread archive: String) {
    report.unreadArchiveCount += 1
    if report.unreadArchives.count < AuditVerification.maximumUnreadNames {
      report.unreadArchives.append(archive)
    }
  }

  /// Learns that an archive has the entry about the erasure of a key.
  mutating func know(archivedErasureOf key: String) { archivedErasures.insert(key) }

  /// Goes on after an entry that was not looked at itself.
  mutating func begin(after previous: AuditChain) throws(AuditChainBreak) {
    chain = previous
    try compare(previous.sequence, previous.hash)
  }

  /// Learns where a signed archive ends.
  mutating func know(endOfArchive end: AuditChain) throws(AuditChainBreak) {
    archiveEnds[end.sequence] = end.hash
    try compare(end.sequence, end.hash)
  }

  /// The next entry that is kept: it follows the one before, unless what lies between is archived.
  mutating func take(_ entry: AuditEntry) throws(AuditChainBreak) {
    do throws(AuditChainBreak) {
      var next: AuditChain
      if let chain, chain.sequence == entry.sequence - 1 || chain.sequence >= archived.sequence {
        next = chain
      } else if entry.sequence > archived.sequence {
        next = archived
      } else {
        next = AuditChain(sequence: entry.sequence - 1, hash: entry.previousHash)
        try compare(next.sequence, next.hash)
      }
      try next.verify(entry)
      try compare(next.sequence, next.hash)
      chain = next
      report.entries += 1
    } catch {
      report.failedID = entry.id
      throw error
    }
  }

  /// Compares an entry's hash with what was signed over it.
  mutating func compare(_ sequence: Int64, _ hash: [UInt8]) throws(AuditChainBreak) {
    if sequence == 0, hash != AuditChain.origin {
      throw AuditChainBreak(
        sequence: 1, kind: .link, message: "Entry 1 claims that there was one before it.")
    }
    if let number = checkpoints.compare(sequence, hash) {
      throw AuditChainBreak(
        sequence: sequence, kind: .content,
        message: """
          Entry \(sequence) has another hash than checkpoint \(number) was signed over: the trail \
          was rewritten.
          """)
    }
    report.checkpoints = checkpoints.compared
    if let end = archiveEnds[sequence], end != hash {
      throw AuditChainBreak(
        sequence: sequence, kind: .link,
        message: "Entry \(sequence) is not the one that was archived.")
    }
  }

  /// Checks that the walk came to where it had to.
  ///
  /// - Parameter head: the end of the whole trail.
  mutating func finish(_ head: AuditChain) throws(AuditChainBreak) {
    let last = report.end
    let reached = chain.flatMap { $0.sequence >= archived.sequence ? $0 : nil } ?? archived
    if last > archived.sequence {
      report.endHash = reached.hash
      guard reached.sequence == last else {
        throw AuditChainBreak(
          sequence: reached.sequence + 1, kind: .missing,
          message: "Entry \(reached.sequence + 1) is missing: the trail goes up to \(last).")
      }
    } else {
      report.endHash = archiveEnds[last] ?? (chain?.sequence == last ? chain?.hash : nil) ?? []
    }
    guard last != head.sequence || reached.sequence < last || reached.hash == head.hash else {
      throw AuditChainBreak(
        sequence: last, kind: .content,
        message: "Entry \(last) has another hash than the end of the trail: it was rewritten.")
    }
  }
}
