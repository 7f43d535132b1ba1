import KeelsonAuditTrail
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// Checks a range of entries where they are stored: hashes, order, checkpoints, and the end.
struct AuditVerification: Sendable {
  struct Report: Sendable {
    var start: Int64 = 0
    var end: Int64 = 0
    var entries: Int64 = 0
    var checkpoints: Int64 = 0
    var archived: Int64 = 0
    var endHash: [UInt8] = []
    var failure: AuditChainBreak?
    /// The id of the entry that does not fit, when there is one.
    var failedID = ""
  }

  /// Entries, and archives, that are read at once.
  static let pageSize = 1_000
  /// Checkpoints that are held at once.
  private static let maximumCheckpoints = 100_000

  let database: any Database
  /// The keys that this server knows: its own first.
  let keys: [String: VerifyingKey]
  /// Where the files of archives lie that this server made, or was given.
  let archiveFolder: String

  /// Blocks now and then, since it reads files.
  ///
  /// - Parameters:
  ///   - start: the first number; 0: all of the archives, and the oldest entry that is kept.
  ///   - end: the last number; 0: the newest.
  /// - Throws: `StoreError`; `RPCError` OUT_OF_RANGE for a range that is not there;
  ///   ``AuditFolderError``.
  func run(start: Int64, end: Int64) async throws -> Report {
    while true {
      let before = try await database.read { try await AuditRepository.archivedChain(in: $0) }
      let report = try await pass(start: start, end: end)
      guard report.failure != nil else { return report }
      // Entries that were archived meanwhile are no damage.
      let after = try await database.read { try await AuditRepository.archivedChain(in: $0) }
      if before == after { return report }
    }
  }

  private struct Beginning: Sendable {
    var head: AuditChain
    var archived: AuditChain
    var oldest: Int64?
    var checkpoints: [AuditCheckpoint]
    /// The entry before the first, when the first is none that is archived or follows such a one.
    var previous: AuditChain?
    var start: Int64
  }

  private func beginning(_ start: Int64) async throws -> Beginning {
    try await database.read { transaction in
      let head = try await ChangeHead.current(in: transaction).audit
      let archived = try await AuditRepository.archivedChain(in: transaction)
      let oldest = try await AuditRepository.oldestSequence(in: transaction)
      let first = start > 0 ? start : min(oldest ?? archived.sequence + 1, archived.sequence + 1)
      var previous: AuditChain?
      if first > archived.sequence + 1 {
        guard let entry = try await AuditRepository.entry(first - 1, in: transaction) else {
          throw RPCError(
            .outOfRange,
            "start_sequence: there is no entry \(first - 1) before it; the newest is "
              + "\(head.sequence)")
        }
        previous = AuditChain(sequence: entry.sequence, hash: entry.hash)
      }
      let checkpoints = try await AuditRepository.checkpoints(
        after: 0, from: max(start - 1, 0), limit: Self.maximumCheckpoints, in: transaction)
      return Beginning(
        head: head, archived: archived, oldest: oldest, checkpoints: checkpoints,
        previous: previous, start: first)
    }
  }

  private func pass(start: Int64, end: Int64) async throws -> Report {
    let beginning = try await beginning(start)
    let head = beginning.head
    guard end <= head.sequence else {
      throw RPCError(
        .outOfRange, "end_sequence: there is no entry \(end); the newest is \(head.sequence)")
    }
    let last = end > 0 ? end : head.sequence
    var walk = VerificationWalk(
      from: beginning.start, upTo: last, archived: beginning.archived,
      checkpoints: beginning.checkpoints)
    do {
      if let oldest = beginning.oldest, oldest < 1 {
        throw AuditChainBreak(
          sequence: oldest, kind: .order,
          message: "Entry \(oldest) stands before the first: nobody recorded it there.")
      }
      if let flaw = flaw(of: beginning.checkpoints, upTo: last, head: head) { throw flaw }
      try await checkArchives(&walk, from: start)
      if let previous = beginning.previous { try walk.begin(after: previous) }
      try await checkEntries(&walk)
      try walk.finish(head)
    } catch let broken as AuditChainBreak {
      walk.report.failure = broken
    }
    return walk.report
  }

  private func checkEntries(_ walk: inout VerificationWalk) async throws {
    var position = walk.report.start - 1
    while position < walk.report.end {
      try Task.checkCancellation()
      let after = position
      let entries = try await database.read {
        try await AuditEntries.select(after: after, limit: Self.pageSize, in: $0)
      }
      for entry in entries where entry.sequence <= walk.report.end { try walk.take(entry) }
      position = entries.last?.sequence ?? walk.report.end
    }
  }

  /// What is wrong with the checkpoints themselves.
  private func flaw(
    of checkpoints: [AuditCheckpoint], upTo last: Int64, head: AuditChain
  ) -> AuditChainBreak? {
    for (index, checkpoint) in checkpoints.enumerated() {
      func broken(_ message: String) -> AuditChainBreak {
        AuditChainBreak(sequence: checkpoint.sequence, kind: .content, message: message)
      }
      guard let key = keys[checkpoint.keyID] else {
        return broken(
          "Checkpoint \(checkpoint.number) was signed by key \(checkpoint.keyID), which is not "
            + "known here.")
      }
      guard checkpoint.isSigned(by: key) else {
        return broken("The signature of checkpoint \(checkpoint.number) does not fit.")
      }
      if index > 0, let flaw = checkpoint.flaw(after: checkpoints[index - 1]) {
        return broken(flaw)
      }
      if checkpoint.sequence > head.sequence {
        return AuditChainBreak(
          sequence: head.sequence + 1, kind: .missing,
          message: """
            The trail ends with entry \(head.sequence), but checkpoint \(checkpoint.number) was \
            signed after entry \(checkpoint.sequence): entries at the end are missing.
            """)
      }
    }
    return nil
  }
}
