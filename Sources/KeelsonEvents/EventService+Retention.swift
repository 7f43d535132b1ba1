package import KeelsonAPI
package import KeelsonCore
import KeelsonStore

extension EventService {
  package func getRetentionPolicy(
    _ request: API.GetRetentionPolicyRequest, context: ServerContext
  ) async throws -> API.RetentionPolicy {
    try await read { transaction in
      try await self.policy(
        try await RetentionRepository.policy(in: transaction), in: transaction)
    }
  }

  package func updateRetentionPolicy(
    _ request: API.UpdateRetentionPolicyRequest, context: ServerContext
  ) async throws -> API.RetentionPolicy {
    guard let update = request.policy else {
      throw RPCError.invalidArgument(field: "policy", "is required")
    }
    let paths = request.updateMask?.paths ?? []
    // A mask or a value that cannot be applied is an error whatever the policy is now.
    _ = try API.RetentionPolicy.initial.applying(paths, of: update)
    do {
      let policy = try await database.change(ChangeOrigin(context)) { change in
        let old = try await RetentionRepository.policy(in: change)
        try EventService.check(etag: update.etag, against: old.etag)
        var new = try old.applying(paths, of: update)
        guard new != old else { throw Unchanged(policy: old) }
        new.updateTime = GoogleProtobuf.Timestamp(change.time)
        // Every change has a revision of its own, so it names the state of the policy.
        new.etag = "r" + String(change.revision, radix: 36)
        try await RetentionRepository.set(new, revision: change.revision, in: change)
        change.audit(
          AuditDraft(
            action: "event_retention_policy.updated", entityType: "event_retention_policy",
            entityID: "events", before: old.summary, after: new.summary))
        change.emit(
          EventDraft(
            type: "keelson.events.EventRetentionPolicyUpdated", subject: "events",
            data: new.summary))
        return new
      }
      retention.wake()
      return try await read { try await self.policy(policy, in: $0) }
    } catch let unchanged as Unchanged {
      return try await read { try await self.policy(unchanged.policy, in: $0) }
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  package func compactEvents(
    _ request: API.CompactEventsRequest, context: ServerContext
  ) async throws -> API.CompactEventsResponse {
    do {
      let removed = try await retention.apply()
      let oldest = try await database.feed.oldestRevision()
      if removed > 0 {
        try await database.change(ChangeOrigin(context)) { change in
          let data = JSONText([
            "removed": .number(Double(removed)), "oldest_revision": .number(Double(oldest)),
          ])
          change.audit(
            AuditDraft(
              action: "events.compacted", entityType: "events", entityID: "events",
              attributes: data))
          change.emit(
            EventDraft(
              type: "keelson.events.EventsCompactedByHand", subject: "events", data: data))
        }
      }
      return API.CompactEventsResponse(removed: Int64(removed), oldestRevision: oldest)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// Thrown out of a change that would change nothing, so that no revision is spent on it.
  private struct Unchanged: Error {
    var policy: API.RetentionPolicy
  }

  /// A policy with what the server alone knows.
  private func policy(
    _ policy: API.RetentionPolicy, in transaction: any Transaction
  ) async throws -> API.RetentionPolicy {
    let bounds = try await EventRepository.bounds(in: transaction)
    var policy = policy
    policy.oldestRevision = bounds.compacted + 1
    policy.currentRevision = bounds.last
    return policy
  }

  private static func check(etag given: String, against current: String) throws {
    guard given.isEmpty || given == current else {
      throw RPCError(
        .aborted,
        "policy.etag: '\(given.prefix(64))' is not the current etag '\(current)': the policy was "
          + "changed in between. Get it again and repeat the change.",
        details: [
          .errorInfo(reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": current])
        ])
    }
  }
}
