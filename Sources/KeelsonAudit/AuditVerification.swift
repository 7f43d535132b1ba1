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

  /// Entries that are read at once.
  private static let pageSize = 1_000
  /// Checkpoints that are held at once.
  private static let maximumCheckpoints = 100_000

  let database: any Database
  /// The keys that this server knows: its own first.
  let keys: [String: VerifyingKey]

  /// - Parameters:
  ///   - start: the first number; 0: the oldest that is kept.
  ///   - end: the last number; 0: the newest.
  /// - Throws: `StoreError`; `RPCError` OUT_OF_RANGE for a range that is not there.
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
    /// The chain before the first entry that has to follow its predecessor.
    var chain: AuditChain
    var start: Int64
  }

  private func beginning(_ start: Int64) async throws -> Beginning {
    try await database.read { transaction in
      let head = try await ChangeHead.current(in: transaction).audit
      let archived = try await AuditRepository.archivedChain(in: transaction)
      let oldest = try await AuditRepository.oldestSequence(in: transaction)
      let first = start > 0 ? start : min(oldest ?? archived.sequence + 1, archived.sequence + 1)
      var chain = archived
      if first > archived.sequence + 1 {
        guard let previous = try await AuditRepository.entry(first - 1, in: transaction) else {
          throw RPCError(
            .outOfRange,
            "start_sequence: there is no entry \(first - 1) before it; the newest is "
              + "\(head.sequence)")
        }
        chain = AuditChain(sequence: previous.sequence, hash: previous.hash)
      }
      let checkpoints = try await AuditRepository.checkpoints(
        after: 0, from: max(first - 1, 0), limit: Self.maximumCheckpoints, in: transaction)
      return Beginning(
        head: head, archived: archived, oldest: oldest, checkpoints: checkpoints, chain: chain,
        start: first)
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
    var report = Report(start: beginning.start, end: last, archived: beginning.archived.sequence)
    var chain = beginning.chain
    var position = beginning.start - 1
    var pending = Deque(beginning.checkpoints.filter { $0.sequence <= last })
    if let failure = flaw(of: beginning.checkpoints, upTo: last, head: head) {
      report.failure = failure
      return report
    }
    check(&pending, at: beginning.chain, archived: beginning.archived, &report)
    while position < last, report.failure == nil {
      try Task.checkCancellation()
      let after = position
      let entries = try await database.read {
        try await AuditEntries.select(after: after, limit: Self.pageSize, in: $0)
      }
      for entry in entries where entry.sequence <= last && report.failure == nil {
        take(entry, archived: beginning.archived, &chain, &pending, &report)
      }
      position = entries.last?.sequence ?? last
    }
    report.endHash = chain.hash
    if report.failure == nil, chain.sequence < last, last > beginning.archived.sequence {
      report.failure = AuditChainBreak(
        sequence: chain.sequence + 1, kind: .missing,
        message: "Entry \(chain.sequence + 1) is missing: the trail goes up to \(last).")
    } else if report.failure == nil, last == head.sequence, last > beginning.archived.sequence,
      chain.hash != head.hash
    {
      report.failure = AuditChainBreak(
        sequence: last, kind: .content,
        message: "Entry \(last) has another hash than the end of the trail: it was rewritten.")
    }
    return report
  }

  private func take(
    _ entry: AuditEntry, archived: AuditChain, _ chain: inout AuditChain,
    _ pending: inout Deque<AuditCheckpoint>, _ report: inout Report
  ) {
    do throws(AuditChainBreak) {
      if entry.sequence <= archived.sequence {
        // Of what is archived some is kept: those entries stand alone here.
        guard entry.hash == entry.computedHash else {
          throw AuditChainBreak(
            sequence: entry.sequence, kind: .content,
            message:
              "Entry \(entry.sequence) is not what was recorded: its hash does not fit.")
        }
        if entry.sequence == archived.sequence, entry.hash != archived.hash {
          throw AuditChainBreak(
            sequence: entry.sequence, kind: .link,
            message: "Entry \(entry.sequence) is not the one that was archived.")
        }
      } else {
        try chain.verify(entry)
        check(&pending, at: chain, archived: archived, &report)
      }
      report.entries += 1
    } catch {
      report.failure = error
      report.failedID = entry.id
    }
  }

  /// Compares the checkpoints up to where the chain is with it.
  private func check(
    _ pending: inout Deque<AuditCheckpoint>, at chain: AuditChain, archived: AuditChain,
    _ report: inout Report
  ) {
    while let next = pending.first, next.sequence <= chain.sequence, report.failure == nil {
      _ = pending.popFirst()
      // Of one within what is archived, only its signature can be checked here.
      if next.sequence == chain.sequence, next.hash != chain.hash {
        report.failure = AuditChainBreak(
          sequence: next.sequence, kind: .content,
          message: """
            Entry \(next.sequence) has another hash than checkpoint \(next.number) was signed over: \
            the trail was rewritten.
            """)
      } else {
        report.checkpoints += 1
      }
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
