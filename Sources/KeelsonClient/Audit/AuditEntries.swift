public import KeelsonAPI
import KeelsonCore

/// Entries of the audit trail, newest first. Pages are asked for as the sequence is gone through;
/// leaving the loop asks for no more.
public struct AuditEntries: AsyncSequence, Sendable {
  public typealias Element = KeelsonAuditV1.AuditEntry

  private let page: @Sendable (String) async throws -> KeelsonAuditV1.ListEntriesResponse

  init(_ page: @escaping @Sendable (String) async throws -> KeelsonAuditV1.ListEntriesResponse) {
    self.page = page
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(page: page)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let page: @Sendable (String) async throws -> KeelsonAuditV1.ListEntriesResponse
    private var taken: ArraySlice<KeelsonAuditV1.AuditEntry> = []
    /// nil after the last page.
    private var token: String? = ""

    fileprivate init(
      page: @escaping @Sendable (String) async throws -> KeelsonAuditV1.ListEntriesResponse
    ) {
      self.page = page
    }

    /// - Throws: ``RPCError``.
    public mutating func next() async throws -> KeelsonAuditV1.AuditEntry? {
      // A page may be empty and still have one after it.
      while taken.isEmpty, let current = token {
        let response = try await page(current)
        taken = response.entries[...]
        token = response.nextPageToken.isEmpty ? nil : response.nextPageToken
      }
      return taken.popFirst()
    }
  }
}
