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
    /// Of all of them together.
    var bytes: Int
    var continuation: CheckedContinuation<[Appended], any Error>
  }

  private struct State {
    var waiting = Deque<Batch>()
    var waitingEntries = 0
    var waitingBytes = 0
    var isWriting = false
  }

  private let database: any Database
  private let subjects: SubjectKeys
  private let limits: AuditLimits
  private let state = Mutex(State())

  init(database: any Database, subjects: SubjectKeys, limits: AuditLimits) {
    self.database = database
    self.subjects = subjects
    self.limits = limits
  }

  /// Returns once the entries are durable.
  ///
  /// - Throws: `RPCError`: ALREADY_EXISTS for an id that another entry has, ABORTED when a subject
  ///   was erased after its entry was sealed, RESOURCE_EXHAUSTED when too much waits; what the
  ///   database's failures become.
  func append(_ entries: [Pending]) async throws -> [Appended] {
    let bytes = entries.reduce(0) { $0 + $1.entry.sizeBytes }
    return try await withCheckedThrowingContinuation { continuation in
      let (refusal, begins) = state.withLock { state -> (String?, Bool) in
        guard state.waitingEntries + entries.count <= limits.waitingEntries else {
          return ("\(limits.waitingEntries) entries", false)
        }
        guard state.waitingBytes + bytes <= limits.waitingBytes else {
          return ("Entries of \(limits.waitingBytes) bytes", false)
        }
        state.waiting.append(Batch(entries: entries, bytes: bytes, continuation: continuation))
        state.waitingEntries += entries.count
        state.waitingBytes += bytes
        defer { state.isWriting = true }
        return (nil, !state.isWriting)
      }
      if let refusal {
        continuation.resume(
          throwing: RPCError(
            .resourceExhausted,
            "\(refusal) may wait to be recorded, and these would be more: nothing was recorded. "
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
        var (count, bytes) = (0, 0)
        while let next = state.waiting.first,
          batches.isEmpty
            || count + next.entries.count <= limits.entriesPerCommit
              && bytes + next.bytes <= limits.bytesPerCommit
        {
          count += next.entries.count
          bytes += next.bytes
          batches.append(next)
          _ = state.waiting.popFirst()
        }
        state.waitingEntries -= count
        state.waitingBytes -= bytes
        if batches.isEmpty { state.isWriting = false }
        return batches
      }
      guard !batches.isEmpty else { return }
      await write(batches)
    }
  }

  private func write(_ batches: [Batch]) async {
    let entries = batches.map(\.entries)
    let (dialect, subjects) = (database.dialect, subjects)
    do {
      let results = try await database.write { transaction in
        let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
        let erased = try await subjects.erased(
          among: Set(entries.flatMap { $0.compactMap(\.key?.id) }), in: transaction)
        return try await Self.append(entries, erased: erased, after: head, in: transaction)
      }
      for (batch, result) in zip(batches, results) { batch.continuation.resume(with: result) }
    } catch {
      let error = (error as? StoreError).map { RPCError($0) } ?? error
      for batch in batches { batch.continuation.resume(throwing: error) }
    }
  }

  /// Where an entry of a batch is found once those of all batches have their places.
  private enum Place {
    /// In the list of new ones.
    case new(Int)
    /// There too, put there by another batch with the same id.
    case repeated(Int)
    case known(AuditEntry)
  }

  /// Appends the batches whose ids are free, or are those of the same entries.
  ///
  /// - Parameter erased: those of the entries' keys that have been destroyed.
  private static func append(
    _ batches: [[Pending]], erased: Set<String>, after head: ChangeHead,
    in transaction: any Transaction
  ) async throws -> [Result<[Appended], any Error>] {
    let known = try await AuditEntries.entries(
      of: batches.flatMap { $0.filter { !$0.hasNewID }.map(\.entry.id) }, in: transaction)
    var new: [AuditEntry] = []
    // Of the new ones those whose id was given, and so may come again.
    var indexes: [String: Int] = [:]
    func stored(_ pending: Pending) -> AuditEntry? {
      guard !pending.hasNewID else { return nil }
      return known[pending.entry.id] ?? indexes[pending.entry.id].map { new[$0] }
    }
    let places = batches.map { batch -> Result<[Place], any Error> in
      for pending in batch {
        if let stored = stored(pending) {
          guard pending.isRepeated(in: stored) else {
            return .failure(conflict(pending.entry.id))
          }
        } else if let key = pending.key, erased.contains(key.id) {
          return .failure(erasedMeanwhile)
        }
      }
      return .success(
        batch.map { pending in
          if !pending.hasNewID {
            if let entry = known[pending.entry.id] { return .known(entry) }
            if let index = indexes[pending.entry.id] { return .repeated(index) }
            indexes[pending.entry.id] = new.count
          }
          new.append(pending.entry)
          return .new(new.count - 1)
        })
    }
    let placed = try await transaction.append(new, after: head)
    return places.map { places in
      places.map { places in
        places.map { place in
          switch place {
          case .new(let index): Appended(entry: placed[index], isRepeated: false)
          case .repeated(let index): Appended(entry: placed[index], isRepeated: true)
          case .known(let entry): Appended(entry: entry, isRepeated: true)
          }
        }
      }
    }
  }

  private static let erasedMeanwhile = RPCError(
    .aborted,
    "The subject of an entry was erased meanwhile: none of these entries was recorded. Repeat the "
      + "call.")

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
