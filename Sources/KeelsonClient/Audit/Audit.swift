public import KeelsonAPI
public import KeelsonCore

/// The audit trail: recording what this service does, and reading what all have done.
///
/// ```swift
/// try await keelson.audit.record(
///   .init(actor: "anna", action: "order.cancelled", entityType: "order", entityId: "17"))
/// for try await entry in keelson.audit.entries(.init(actor: "anna")) { … }
/// ```
public struct Audit: Sendable {
  private let service: KeelsonAuditV1.AuditServiceClient
  let recorder: AuditRecorder
  private let subscriptions: SubscriptionRegistry
  private let tailPolicy: SubscriptionPolicy

  init(
    channel: any Channel, policy: AuditRecordingPolicy,
    subscriptions: SubscriptionRegistry = SubscriptionRegistry(),
    tailPolicy: SubscriptionPolicy = SubscriptionPolicy()
  ) {
    self.subscriptions = subscriptions
    self.tailPolicy = tailPolicy
    service = KeelsonAuditV1.AuditServiceClient(channel: channel)
    recorder = AuditRecorder(service: service, policy: policy)
  }

  /// Has an entry recorded, together with others. Returns once it waits to be sent, which is at
  /// once unless ``AuditRecordingPolicy/bufferedEntries`` or
  /// ``AuditRecordingPolicy/bufferedBytes`` wait already: then it waits for room.
  ///
  /// An entry without an id gets one, so that however often it has to be sent, it is recorded
  /// once. ``flush()`` waits for all that was given; ``KeelsonClient/shutdown()`` flushes too.
  ///
  /// - Throws: ``RPCError`` UNAVAILABLE after the client was shut down; `CancellationError` when the
  ///   task is cancelled while it waits for room.
  public func record(_ entry: KeelsonAuditV1.EntryDraft) async throws {
    try await recorder.record(entry)
  }

  /// Has entries recorded and waits until they are on the server's disk: all of them or none.
  ///
  /// - Parameter entries: up to 1,000. Those without an id get one, so that the call is tried again
  ///   when the server is unavailable.
  /// - Returns: where each of them stands in the trail.
  /// - Throws: ``RPCError``: INVALID_ARGUMENT names the fields that are wrong.
  public func recordNow(
    _ entries: [KeelsonAuditV1.EntryDraft], options: CallOptions = CallOptions()
  ) async throws -> [KeelsonAuditV1.RecordedEntry] {
    let request = KeelsonAuditV1.RecordEntriesRequest(entries: entries.map(\.identified))
    var pause = Duration.milliseconds(100)
    for _ in 0..<Self.retries {
      do {
        return try await service.recordEntries(request, options: options).entries
      } catch let error as RPCError where error.code == .unavailable {
        // The entries have ids, so whatever became of this attempt, another is safe.
        try await Task.sleep(for: min(error.retryDelay ?? pause, .seconds(5)))
        pause *= 2
      }
    }
    return try await service.recordEntries(request, options: options).entries
  }

  /// How often ``recordNow(_:options:)`` tries again.
  private static let retries = 3

  /// Waits until everything that was given to ``record(_:)`` before is on the server's disk, or was
  /// given up.
  ///
  /// - Throws: ``RPCError`` with the first reason for which entries were given up since the last
  ///   flush; `CancellationError` when the task is cancelled, which stops the waiting only.
  public func flush() async throws {
    try await recorder.flush()
  }

  /// The entries that match, newest first, a page after the other as they are gone through.
  public func entries(
    _ filter: KeelsonAuditV1.EntryFilter = .init(), pageSize: Int32 = 0,
    options: CallOptions = CallOptions()
  ) -> AuditEntries {
    let service = service
    return AuditEntries { token in
      try await service.listEntries(
        .init(filter: filter, pageSize: pageSize, pageToken: token), options: options)
    }
  }

  /// All that a user did and all that was done to them, newest first.
  public func history(
    of user: String, pageSize: Int32 = 0, options: CallOptions = CallOptions()
  ) -> AuditEntries {
    let service = service
    return AuditEntries { token in
      try await service.listUserHistory(
        .init(user: user, pageSize: pageSize, pageToken: token), options: options)
    }
  }

  /// The entries that match as they are recorded, without loss or repetition: when the connection
  /// breaks, or the server has no room, it connects again and goes on where it was. Ends when the
  /// client is shut down.
  ///
  /// - Parameter sequence: go on after this entry, 0 for all that are kept; nil: from now on.
  public func tail(
    _ filter: KeelsonAuditV1.EntryFilter = .init(), after sequence: Int64? = nil
  ) -> AuditTail {
    AuditTail(
      service: service, filter: filter, after: sequence, subscriptions: subscriptions,
      policy: tailPolicy)
  }

  /// An export in pieces, to be written to a file one after the other; `keelson audit verify FILE`
  /// checks it.
  public func export(
    _ request: KeelsonAuditV1.ExportEntriesRequest = .init(),
    options: CallOptions = CallOptions()
  ) -> ResponseStream<KeelsonAuditV1.ExportEntriesResponse> {
    service.exportEntries(request, options: options)
  }

  /// Has the server recompute the trail's hashes. What does not fit is an answer, not an error.
  ///
  /// - Parameter range: the numbers of the entries; nil: all that are kept.
  public func verify(
    _ range: ClosedRange<Int64>? = nil, options: CallOptions = CallOptions(timeout: .seconds(600))
  ) async throws -> KeelsonAuditV1.VerifyEntriesResponse {
    try await service.verifyEntries(
      .init(startSequence: range?.lowerBound ?? 0, endSequence: range?.upperBound ?? 0),
      options: options)
  }
}

extension KeelsonAuditV1.EntryDraft {
  /// The same with an id.
  var identified: Self {
    guard entryId.isEmpty else { return self }
    var draft = self
    draft.entryId = UUIDv7.make()
    return draft
  }
}
