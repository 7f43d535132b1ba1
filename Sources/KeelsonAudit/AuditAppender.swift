import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore
import KeelsonStore
import Synchronization

/// Appends entries with group commit: what comes while one transaction is on its way to the disk
/// shares the next one, and is written by the same few statements.
final class AuditAppender: Sendable {
  /// What became of an entry.
  struct Appended: Sendable {
    var entry: AuditEntry
    /// It had been recorded before.
    var isRepeated: Bool
  }

  /// An entry on its way.
  struct Pending: Sendable {
    /// As it will be stored, but for its time and its place.
    var entry: AuditEntry
    /// The key that sealed it; nil when it is not sealed.
    var key: SubjectKey?
    /// The id was made here just now, so nobody can have used it before.
    var hasNewID = false
  }

  /// The entries of one call: all of them are recorded or none.
  private struct Batch {
    var entries: [Pending]
    var continuation: CheckedContinuation<[Appended], any Error>
  }

  private struct State {
    var waiting = Deque<Batch>()
    var waitingEntries = 0
    var isWriting = false
  }

  private let database: any Database
  private let limits: AuditLimits
  private let state = Mutex(State())

  init(database: any Database, limits: AuditLimits) {
    self.database = database
    self.limits = limits
  }

  /// Returns once the entries are durable.
  ///
  /// - Throws: `RPCError`: ALREADY_EXISTS for an id that another entry has, RESOURCE_EXHAUSTED
  ///   when too many entries wait; what the database's failures become.
  func append(_ entries: [Pending]) async throws -> [Appended] {
    try await withCheckedThrowingContinuation { continuation in
      let (isRefused, begins) = state.withLock { state in
        guard state.waitingEntries + entries.count <= limits.waitingEntries else {
          return (true, false)
        }
        state.waiting.append(Batch(entries: entries, continuation: continuation))
        state.waitingEntries += entries.count
        defer { state.isWriting = true }
        return (false, !state.isWriting)
      }
      if isRefused {
        continuation.resume(
          throwing: RPCError(
            .resourceExhausted,
            "\(limits.waitingEntries) entries wait to be recorded already: nothing was recorded. "
              + "Repeat the call with the same entry ids.",
            details: [.retryInfo(.milliseconds(500))]))
      }
      // Not of the call that happened to come first: its cancellation is not the others'.
      if begins { Task.detached { await self.write() } }
    }
  }

  /// Writes until nothing waits.
  private func write() async {
    while true {
      let batches = state.withLock { state in
        var batches: [Batch] = []
        var count = 0
        while let next = state.waiting.first,
          batches.isEmpty || count + next.entries.count <= limits.entriesPerCommit
        {
          count += next.entries.count
          batches.append(next)
          _ = state.waiting.popFirst()
        }
        state.waitingEntries -= count
        if batches.isEmpty { state.isWriting = false }
        return batches
      }
      guard !batches.isEmpty else { return }
      await write(batches)
    }
  }

  private func write(_ batches: [Batch]) async {
    let entries = batches.map(\.entries)
    let dialect = database.dialect
    do {
      let results = try await database.write { transaction in
        let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
        return try await Self.append(entries, after: head, in: transaction)
      }
      for (batch, result) in zip(batches, results) { batch.continuation.resume(with: result) }
    } catch {
      let error = (error as? StoreError).map { RPCError($0) } ?? error
      for batch in batches { batch.continuation.resume(throwing: error) }
    }
  }

  /// Appends the batches whose ids are free, or are those of the same entries.
  private static func append(
    _ batches: [[Pending]], after head: ChangeHead, in transaction: any Transaction
  ) async throws -> [Result<[Appended], any Error>] {
    var known = try await AuditEntries.entries(
      of: batches.flatMap { $0.filter { !$0.hasNewID }.map(\.entry.id) }, in: transaction)
    var new: [AuditEntry] = []
    var newIDs: Set<String> = []
    var conflicts: [Int: RPCError] = [:]
    for (index, batch) in batches.enumerated() {
      let taken = batch.first { pending in
        known[pending.entry.id].map { !pending.isRepeated(in: $0) } ?? false
      }
      if let taken {
        conflicts[index] = conflict(taken.entry.id)
        continue
      }
      for pending in batch where known[pending.entry.id] == nil {
        new.append(pending.entry)
        newIDs.insert(pending.entry.id)
        // Until it has its place; another batch with the same id is compared with it.
        known[pending.entry.id] = pending.entry
      }
    }
    for placed in try await transaction.append(new, after: head) { known[placed.id] = placed }
    return batches.enumerated().map { index, batch in
      if let conflict = conflicts[index] { return .failure(conflict) }
      return .success(
        batch.compactMap { pending in
          known[pending.entry.id].map {
            Appended(entry: $0, isRepeated: newIDs.remove(pending.entry.id) == nil)
          }
        })
    }
  }

  private static func conflict(_ id: String) -> RPCError {
    RPCError(
      .alreadyExists,
      "Another entry has the id '\(id)', with other content: none of these entries was recorded. "
        + "Give each entry an id of its own.",
      details: [
        .resourceInfo(type: "keelson.audit.v1.AuditEntry", name: id, description: "")
      ])
  }
}

extension AuditAppender.Pending {
  /// Whether a stored entry with the same id is this one, recorded by an earlier attempt. Time,
  /// place and recorder may differ, and the correlation id, which may be that of the attempt.
  fileprivate func isRepeated(in stored: AuditEntry) -> Bool {
    var (mine, theirs) = (entry, stored)
    if mine.sealed != nil || theirs.sealed != nil {
      guard let key, let opened = try? key.open(mine), let stored = try? key.open(theirs) else {
        return false
      }
      (mine, theirs) = (opened, stored)
      mine.sealed = nil
      theirs.sealed = nil
    }
    mine.sequence = theirs.sequence
    mine.time = theirs.time
    mine.revision = theirs.revision
    mine.recorder = theirs.recorder
    mine.correlationID = theirs.correlationID
    mine.previousHash = theirs.previousHash
    mine.hash = theirs.hash
    return mine == theirs
  }
}
