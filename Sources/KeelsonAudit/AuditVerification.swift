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
    /// The trusted keys whose signatures fitted.
    var reliedUpon: Set<String> = []
    /// Other keys that signed something: what they signed does not count.
    var untrusted: Set<String> = []
    /// Archives whose file does not lie here, so that a signature alone vouches for their entries:
    /// the first ones' names, and how many there are.
    var unreadArchives: [String] = []
    var unreadArchiveCount: Int64 = 0
    /// The id of the entry that does not fit, when there is one.
    var failedID = ""
  }

  /// Entries, archives, or checkpoints, that are read at once.
  static let pageSize = 1_000
  /// Archives without a file that are named.
  static let maximumUnreadNames = 100

  let database: any Database
  /// The keys that are known, by id.
  let keys: [String: VerifyingKey]
  /// The ids of those whose signatures count.
  let trusted: Set<String>
  /// Where the files of archives lie that this server made, or was given.
  let archiveFolder: String
  let limits: AuditLimits

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
    /// The number of the newest checkpoint; 0 when there is none.
    var newestCheckpoint: Int64
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
      let newest = try await AuditRepository.checkpoints(before: .max, limit: 1, in: transaction)
      return Beginning(
        head: head, archived: archived, oldest: oldest,
        newestCheckpoint: newest.first?.number ?? 0, previous: previous, start: first)
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
      from: beginning.start, upTo: last, archived: beginning.archived)
    do {
      if let oldest = beginning.oldest, oldest < 1 {
        throw AuditChainBreak(
          sequence: oldest, kind: .order,
          message: "Entry \(oldest) stands before the first: nobody recorded it there.")
      }
      try await readCheckpoints(
        into: &walk, from: max(start - 1, 0), upTo: beginning.newestCheckpoint, head: head)
      try await checkArchives(&walk, from: start)
      if let previous = beginning.previous { try walk.begin(after: previous) }
      try await checkEntries(&walk)
      try walk.finish(head)
      if start <= 1, last == head.sequence { try await checkErasures(walk) }
    } catch let broken as AuditChainBreak {
      walk.report.failure = broken
    }
    return walk.report
  }

  private func checkEntries(_ walk: inout VerificationWalk) async throws {
    var position = walk.report.start - 1
    var pace = ReadPace(most: Self.pageSize, bytes: limits.readBytes)
    while position < walk.report.end {
      try Task.checkCancellation()
      let (after, count) = (position, pace.count)
      let entries = try await database.read {
        try await AuditEntries.select(after: after, limit: count, in: $0)
      }
      pace.took(entries)
      for entry in entries where entry.sequence <= walk.report.end { try walk.take(entry) }
      try await checkSubjects(of: entries)
      position = entries.last?.sequence ?? walk.report.end
    }
  }

  /// Checks the checkpoints themselves, all of them, a page at a time.
  ///
  /// - Parameters:
  ///   - sequence: those of entries before this one are left out.
  ///   - newest: the number of the last one; later ones speak of entries that the head has not.
  private func readCheckpoints(
    into walk: inout VerificationWalk, from sequence: Int64, upTo newest: Int64, head: AuditChain
  ) async throws {
    var last: AuditCheckpoint?
    while (last?.number ?? 0) < newest {
      try Task.checkCancellation()
      let after = last?.number ?? 0
      let page = try await database.read {
        try await AuditRepository.checkpoints(
          after: after, from: sequence, limit: Self.pageSize, in: $0)
      }
      guard !page.isEmpty else { return }
      for checkpoint in page where checkpoint.number <= newest {
        try check(checkpoint, after: last, head: head)
        walk.know(checkpoint, isTrusted: trusted.contains(checkpoint.keyID))
        last = checkpoint
      }
      guard page.last?.number ?? 0 < newest else { return }
    }
  }

  private func check(
    _ checkpoint: AuditCheckpoint, after last: AuditCheckpoint?, head: AuditChain
  ) throws(AuditChainBreak) {
    func broken(_ message: String) -> AuditChainBreak {
      AuditChainBreak(sequence: checkpoint.sequence, kind: .content, message: message)
    }
    guard let key = keys[checkpoint.keyID] else {
      throw broken(
        "Checkpoint \(checkpoint.number) was signed by key \(checkpoint.keyID), which is not "
          + "known here.")
    }
    guard checkpoint.isSigned(by: key) else {
      throw broken("The signature of checkpoint \(checkpoint.number) does not fit.")
    }
    if let last, let flaw = checkpoint.flaw(after: last) { throw broken(flaw) }
    guard checkpoint.sequence <= head.sequence else {
      throw AuditChainBreak(
        sequence: head.sequence + 1, kind: .missing,
        message: """
          The trail ends with entry \(head.sequence), but checkpoint \(checkpoint.number) was \
          signed after entry \(checkpoint.sequence): entries at the end are missing.
          """)
    }
  }
}
