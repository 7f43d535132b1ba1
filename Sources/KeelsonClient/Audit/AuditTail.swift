public import KeelsonAPI
import KeelsonCore

/// Entries of the audit trail as they are recorded. See ``Audit/tail(_:after:)``.
///
/// Each loop over it is a tail of its own from the same start. It ends when the client is shut down.
public struct AuditTail: AsyncSequence, Sendable {
  public typealias Element = KeelsonAuditV1.AuditEntry
  public typealias Failure = any Error

  let service: KeelsonAuditV1.AuditServiceClient
  let filter: KeelsonAuditV1.EntryFilter
  let after: Int64?
  let subscriptions: SubscriptionRegistry
  let policy: SubscriptionPolicy

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(self)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let service: KeelsonAuditV1.AuditServiceClient
    private let filter: KeelsonAuditV1.EntryFilter
    private let reader: SubscriptionReader<KeelsonAuditV1.TailEntriesResponse>

    /// Everything up to here has been given or does not match: where another tail can go on. nil
    /// until the server has said where the trail stands.
    public private(set) var position: Int64?

    fileprivate init(_ tail: AuditTail) {
      service = tail.service
      filter = tail.filter
      position = tail.after
      reader = SubscriptionReader(
        "audit entries", policy: tail.policy, registry: tail.subscriptions
      ) { response in
        guard case .heartbeat(let heartbeat) = response.event else { return nil }
        return .init(interval: heartbeat.interval?.clampedDuration)
      }
    }

    /// Waits for the next entry; nil once the client is shut down. While the server cannot be
    /// reached, or has no room for another tail, it goes on trying.
    ///
    /// - Throws: ``RPCError`` for whatever trying again does not cure, OUT_OF_RANGE for example when
    ///   entries in between have been archived; `CancellationError` when the task is cancelled.
    public mutating func next() async throws -> KeelsonAuditV1.AuditEntry? {
      try await next(isolation: #isolation)
    }

    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws -> KeelsonAuditV1.AuditEntry? {
      let (service, filter) = (service, filter)
      while true {
        let position = position
        let response = try await reader.next(isolation: actor) {
          service.tailEntries(.init(filter: filter, afterSequence: position), options: $0)
        }
        guard let response else { return nil }
        self.position = response.sequence
        if case .entry(let entry)? = response.event { return entry }
      }
    }
  }
}
