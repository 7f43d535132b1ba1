package import KeelsonCore
import Synchronization

/// A transaction that changes state and says so: its audit entry and its event become durable
/// with the state, or none of them does.
///
/// Revisions are taken when the change begins, under the engine's write lock, so their order is
/// the order of the commits and a rollback leaves no gap.
package final class Change: Transaction {
  package let origin: ChangeOrigin
  /// The time that the audit entry, the event and the state should all carry.
  package let time: UnixTime
  /// The revision of the change's first event, for the state's rows to store.
  package let revision: Int64

  private let transaction: any Transaction
  private struct Recorded {
    var events = 0
    var auditEntries = 0
  }
  private let recorded = Mutex(Recorded())
  private let auditSequence: Int64

  private init(
    _ transaction: any Transaction, origin: ChangeOrigin, time: UnixTime, revision: Int64,
    auditSequence: Int64
  ) {
    self.transaction = transaction
    self.origin = origin
    self.time = time
    self.revision = revision
    self.auditSequence = auditSequence
  }

  package func query(_ sql: String, _ parameters: [SQLValue]) async throws -> [Row] {
    try await transaction.query(sql, parameters)
  }

  @discardableResult
  package func execute(_ sql: String, _ parameters: [SQLValue]) async throws -> Int {
    try await transaction.execute(sql, parameters)
  }

  package func publish(_ event: CommittedEvent) {
    transaction.publish(event)
  }

  /// Writes the entry for the audit trail. At least one belongs to every change.
  package func audit(_ draft: AuditDraft) async throws {
    let isFirst = recorded.withLock { recorded in
      recorded.auditEntries += 1
      return recorded.auditEntries == 1
    }
    let sequence =
      isFirst ? auditSequence : try await ChangeSequence.nextAuditSequence(in: transaction)
    try await AuditEntries.insert(
      draft, sequence: sequence, revision: revision, time: time, origin: origin, in: transaction)
  }

  /// Writes an event and returns its revision: the first has the change's ``revision``, each
  /// further one its own. At least one belongs to every change.
  @discardableResult
  package func emit(_ draft: EventDraft) async throws -> Int64 {
    let isFirst = recorded.withLock { recorded in
      recorded.events += 1
      return recorded.events == 1
    }
    let revision =
      isFirst ? self.revision : try await ChangeSequence.nextRevision(in: transaction)
    let event = CommittedEvent(
      revision: revision, time: time, type: draft.type, subject: draft.subject, data: draft.data,
      payload: draft.payload, actor: origin.actor, correlationID: origin.correlationID)
    try await Events.insert(event, in: transaction)
    transaction.publish(event)
    return revision
  }

  fileprivate static func begin(_ transaction: any Transaction, origin: ChangeOrigin) async throws
    -> Change
  {
    let (revision, auditSequence) = try await ChangeSequence.next(in: transaction)
    return Change(
      transaction, origin: origin, time: .now, revision: revision, auditSequence: auditSequence)
  }

  fileprivate func checkComplete() throws {
    let recorded = recorded.withLock { $0 }
    guard recorded.auditEntries > 0 else {
      throw StoreError(.misuse, "A change wrote no audit entry, so it was rolled back.")
    }
    guard recorded.events > 0 else {
      throw StoreError(.misuse, "A change wrote no event, so it was rolled back.")
    }
  }
}

extension Database {
  /// Runs a body as one transaction that writes state, audit entry and event. When this returns
  /// the change is durable and every observer of the feed has seen it.
  ///
  /// - Throws: what ``write(_:)`` throws; ``StoreError`` with code misuse when the body wrote no
  ///   audit entry or no event.
  @discardableResult
  package func change<Result: Sendable>(
    _ origin: ChangeOrigin, _ body: @escaping @Sendable (Change) async throws -> Result
  ) async throws -> Result {
    try await write { transaction in
      let change = try await Change.begin(transaction, origin: origin)
      let result = try await body(change)
      try change.checkComplete()
      return result
    }
  }
}
