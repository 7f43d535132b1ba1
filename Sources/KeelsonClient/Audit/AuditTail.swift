public import KeelsonAPI
import KeelsonCore

/// Entries of the audit trail as they are recorded. See ``Audit/tail(_:after:)``.
public struct AuditTail: AsyncSequence, Sendable {
  public typealias Element = KeelsonAuditV1.AuditEntry

  let service: KeelsonAuditV1.AuditServiceClient
  let filter: KeelsonAuditV1.EntryFilter
  let after: Int64?

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(service: service, filter: filter, position: after)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let service: KeelsonAuditV1.AuditServiceClient
    private let filter: KeelsonAuditV1.EntryFilter
    private var stream: ResponseStream<KeelsonAuditV1.TailEntriesResponse>.AsyncIterator?
    private var pause = Duration.milliseconds(100)

    /// Everything up to here has been given or does not match: where another tail can go on. nil
    /// until the server has said where the trail stands.
    public private(set) var position: Int64?

    fileprivate init(
      service: KeelsonAuditV1.AuditServiceClient, filter: KeelsonAuditV1.EntryFilter,
      position: Int64?
    ) {
      self.service = service
      self.filter = filter
      self.position = position
    }

    /// Waits for the next entry. While the server cannot be reached it goes on trying.
    ///
    /// - Throws: ``RPCError`` for whatever trying again cannot help, OUT_OF_RANGE for example when
    ///   entries in between have been archived; `CancellationError`.
    public mutating func next() async throws -> KeelsonAuditV1.AuditEntry? {
      while true {
        if stream == nil {
          stream = service.tailEntries(.init(filter: filter, afterSequence: position))
            .makeAsyncIterator()
        }
        do {
          guard let response = try await stream?.next() else {
            stream = nil
            continue
          }
          pause = .milliseconds(100)
          position = response.sequence
          if case .entry(let entry)? = response.event { return entry }
        } catch let error as RPCError where error.code == .unavailable {
          stream = nil
          try await Task.sleep(for: pause)
          pause = Swift.min(pause * 2, .seconds(5))
        }
      }
    }
  }
}
