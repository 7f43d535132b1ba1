package import KeelsonAuditTrail
package import KeelsonCore
import Synchronization

/// A transaction that changes state and says so: its audit entry and its event become durable
/// with the state, or none of them does.
///
/// The head of all changes is read when the change begins and locked until its transaction ends,
/// so changes happen one after the other, in the order of their revisions, and a rollback leaves no
/// gap. Entries and events are recorded when the body has returned.
package final class Change: Transaction {
  package let origin: ChangeOrigin
  /// The time that the audit entry, the event and the state should all carry.
  package let time: UnixTime
  /// The revision of the change's first event, for the state's rows to store.
  package let revision: Int64

  private let transaction: any Transaction
  private let head: ChangeHead
  private struct Recorded {
    var events: [CommittedEvent] = []
    var auditEntries: [AuditEntry] = []
  }
  private let recorded = Mutex(Recorded())

  private init(
    _ transaction: any Transaction, origin: ChangeOrigin, time: UnixTime, head: ChangeHead
  ) {
    self.transaction = transaction
    self.origin = origin
    self.time = time
    self.head = head
    revision = head.revision + 1
  }

  package func query(_ sql: String, _ parameters: [SQLValue]) async throws -> [Row] {
    try await transaction.query(sql, parameters)
  }

  @discardableResult
  package func execute(_ sql: String, _ parameters: [SQLValue]) async throws -> Int {
    try await transaction.execute(sql, parameters)
  }

  @discardableResult
  package func executeAll(_ statements: [SQLStatement]) async throws -> [Int] {
    try await transaction.executeAll(statements)
  }

  package func queryAll(_ statements: [SQLStatement]) async throws -> [[Row]] {
    try await transaction.queryAll(statements)
  }

  package func publish(_ committed: Committed) {
    transaction.publish(committed)
  }

  /// Adds the entry for the audit trail. At least one belongs to every change.
  package func audit(_ draft: AuditDraft) {
    let entry = draft.entry(at: time, revision: revision, origin: origin)
    recorded.withLock { $0.auditEntries.append(entry) }
  }

  /// Adds an event and returns its revision: the first has the change's ``revision``, each
  /// further one its own. At least one belongs to every change.
  @discardableResult
  package func emit(_ draft: EventDraft) -> Int64 {
    recorded.withLock { recorded in
      let revision = self.revision + Int64(recorded.events.count)
      recorded.events.append(
        CommittedEvent(
          revision: revision, time: time, type: draft.type, subject: draft.subject,
          data: draft.data, payload: draft.payload, actor: origin.actor,
          correlationID: origin.correlationID, traceparent: origin.traceparent))
      return revision
    }
  }

  fileprivate static func begin(
    _ transaction: any Transaction, origin: ChangeOrigin, dialect: Dialect
  ) async throws -> Change {
    let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
    return Change(transaction, origin: origin, time: head.nextTime, head: head)
  }

  /// Writes what was recorded.
  fileprivate func finish(isAudited: Bool) async throws {
    let recorded = recorded.withLock { $0 }
    guard !isAudited || !recorded.auditEntries.isEmpty else {
      throw StoreError(.misuse, "A change wrote no audit entry, so it was rolled back.")
    }
    guard !recorded.events.isEmpty else {
      throw StoreError(.misuse, "A change wrote no event, so it was rolled back.")
    }
    var next = head
    let entries = recorded.auditEntries.map { next.audit.append($0) }
    next.auditTime = time
    next.revision += Int64(recorded.events.count)
    try await transaction.record(
      ChangeRecord(entries: entries, events: recorded.events, from: head, to: next))
  }
}

extension Database {
  /// Runs a body as one transaction that writes state, audit entry and event. When this returns
  /// the change is durable and every observer of the feed has seen it.
  ///
  /// - Parameter isAudited: false for steps that the server takes by itself while it does what a
  ///   caller has asked for, as handing out jobs: those have a history of their own.
  /// - Throws: what ``write(_:)`` throws; ``StoreError`` with code misuse when the body wrote no
  ///   audit entry or no event.
  @discardableResult
  package func change<Result: Sendable>(
    _ origin: ChangeOrigin, isAudited: Bool = true,
    _ body: @escaping @Sendable (Change) async throws -> Result
  ) async throws -> Result {
    let dialect = dialect
    return try await write { transaction in
      let change = try await Change.begin(transaction, origin: origin, dialect: dialect)
      let result = try await body(change)
      try await change.finish(isAudited: isAudited)
      return result
    }
  }

  /// Appends entries to the audit trail that belong to no change here: those of other services,
  /// and those about reading. One transaction for all of them.
  ///
  /// An entry whose identifier is there already is not appended again, so that a caller may
  /// repeat what it got no answer to.
  ///
  /// - Returns: the sequence number of each, in the order given, and whether it was there already.
  /// - Throws: what ``write(_:)`` throws.
  package func appendAudit(_ entries: [AuditEntry]) async throws -> [AppendedAudit] {
    let dialect = dialect
    return try await write { transaction in
      let head = try await ChangeHead.locked(in: transaction, dialect: dialect)
      var known = try await AuditEntries.entries(of: entries.map(\.id), in: transaction)
      var isNew: [String: Bool] = [:]
      let new = entries.filter { entry in
        let isFirst = known[entry.id] == nil && isNew[entry.id] == nil
        if isFirst { isNew[entry.id] = true }
        return isFirst
      }
      for placed in try await transaction.append(new, after: head) { known[placed.id] = placed }
      return entries.compactMap { entry in
        known[entry.id].map { placed in
          AppendedAudit(
            sequence: placed.sequence,
            isRepeated: isNew.updateValue(false, forKey: entry.id) != true)
        }
      }
    }
  }
}

/// Where an entry stands in the audit trail.
package struct AppendedAudit: Sendable, Hashable {
  package let sequence: Int64
  /// Whether it was there before.
  package let isRepeated: Bool
}

extension Transaction {
  /// Appends entries that belong to no change to the audit trail, and gives them their time and
  /// their place.
  ///
  /// - Parameter head: the head, locked by this transaction.
  package func append(
    _ entries: [AuditEntry], after head: ChangeHead
  ) async throws -> [AuditEntry] {
    guard !entries.isEmpty else { return [] }
    var next = head
    next.auditTime = head.nextTime
    let placed = entries.map { entry in
      var entry = entry
      entry.time = next.auditTime
      return next.audit.append(entry)
    }
    try await record(ChangeRecord(entries: placed, from: head, to: next))
    return placed
  }
}
