package import KeelsonAPI
package import KeelsonCore
import KeelsonStore

extension FlagService {
  package func createSegment(
    _ request: KeelsonFlagsV1.CreateSegmentRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.Segment {
    guard var segment = request.segment else {
      throw RPCError.invalidArgument(field: "segment", "is required")
    }
    segment.flagSet = try setName(segment.flagSet, field: "segment.flag_set")
    segment.unknownFields = .init()
    try validation.check(segment)
    let checked = segment
    return try await change(ChangeOrigin(context)) { [limits] change in
      _ = try await self.requireSet(checked.flagSet, field: "segment.flag_set", in: change)
      let existing = try await SegmentRepository.list(checked.flagSet, in: change)
      guard !existing.contains(where: { $0.key == checked.key }) else {
        throw RPCError(
          .alreadyExists,
          "Segment '\(checked.key)' is already in set '\(checked.flagSet)'.",
          details: [.resourceInfo(.segment, checked.flagSet, checked.key)])
      }
      guard existing.count < limits.segmentsPerSet else {
        throw RPCError(
          .resourceExhausted,
          "Set '\(checked.flagSet)' holds \(limits.segmentsPerSet) segments, the limit.")
      }
      var created = checked
      created.stamp(change, created: true)
      try await SegmentRepository.insert(created, in: change)
      change.record(.segmentCreated, before: nil, after: created)
      return created
    }
  }

  package func getSegment(
    _ request: KeelsonFlagsV1.GetSegmentRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.Segment {
    let set = try setName(request.flagSet)
    return try await read { try await self.requireSegment(set, request.key, in: $0) }
  }

  package func listSegments(
    _ request: KeelsonFlagsV1.ListSegmentsRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.ListSegmentsResponse {
    let set = try setName(request.flagSet)
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    let segments = try await read { transaction in
      _ = try await self.requireSet(set, field: "flag_set", in: transaction)
      return try await SegmentRepository.list(
        set, after: page.after, limit: page.size + 1, in: transaction)
    }
    var response = KeelsonFlagsV1.ListSegmentsResponse()
    (response.segments, response.nextPageToken) = page.cut(segments, by: \.key)
    return response
  }

  package func updateSegment(
    _ request: KeelsonFlagsV1.UpdateSegmentRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.Segment {
    guard let update = request.segment else {
      throw RPCError.invalidArgument(field: "segment", "is required")
    }
    let set = try setName(update.flagSet, field: "segment.flag_set")
    let paths = request.updateMask?.paths ?? []
    _ = try FlagUpdate.apply(paths, of: update, to: KeelsonFlagsV1.Segment())
    return try await change(ChangeOrigin(context)) { [validation] change in
      let segment = try await self.requireSegment(set, update.key, in: change)
      try FlagService.check(etag: update.etag, field: "segment.etag", against: segment.etag)
      var changed = try FlagUpdate.apply(paths, of: update, to: segment)
      guard changed != segment else { throw Unchanged(resource: segment) }
      try validation.check(changed)
      try await self.checkUsers(of: changed, in: change)
      changed.stamp(change)
      try await SegmentRepository.update(changed, in: change)
      change.record(.segmentUpdated, before: segment, after: changed)
      return changed
    }
  }

  package func deleteSegment(
    _ request: KeelsonFlagsV1.DeleteSegmentRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.DeleteSegmentResponse {
    let set = try setName(request.flagSet)
    return try await change(ChangeOrigin(context)) { change in
      let segment = try await self.requireSegment(set, request.key, in: change)
      try FlagService.check(etag: request.etag, field: "etag", against: segment.etag)
      let users = try await self.users(of: segment, in: change).map(\.key)
      guard users.isEmpty else {
        // A status has to stay small enough for every client's header limit.
        let named = users.prefix(10)
        let others = users.count > named.count ? " and \(users.count - named.count) more" : ""
        throw RPCError(
          .failedPrecondition,
          "Segment '\(segment.key)' is used by \(FlagValidation.list(named))\(others); "
            + "take it out of their targeting first.",
          details: [
            .preconditionFailure(
              named.map { key in
                PreconditionViolation(
                  type: "IN_USE", subject: "\(set)/\(key)",
                  description: "Its targeting uses the segment.")
              })
          ])
      }
      try await SegmentRepository.delete(segment, in: change)
      change.record(.segmentDeleted, before: segment, after: nil)
      return KeelsonFlagsV1.DeleteSegmentResponse()
    }
  }

  /// Checks that every flag that uses a segment still compiles with its new condition: together
  /// they may be too large.
  private func checkUsers(of segment: KeelsonFlagsV1.Segment, in change: Change) async throws {
    for flag in try await users(of: segment, in: change) {
      var conditions = try await segments(of: flag, in: change)
      conditions[segment.key] = segment.parsed
      do {
        try validation.checkRules(flag, segments: conditions)
      } catch let error as RPCError {
        throw RPCError.invalidArgument(
          field: "segment.condition", "flag '\(flag.key)' cannot use it: \(error.message)")
      }
    }
  }

  /// The flags in use whose targeting names a segment, by key.
  private func users(of segment: KeelsonFlagsV1.Segment, in transaction: any Transaction)
    async throws -> [KeelsonFlagsV1.Flag]
  {
    let query = FlagRepository.Query(set: segment.flagSet, limit: limits.flagsPerSet)
    return try await FlagRepository.list(query, in: transaction).filter {
      $0.segments.contains(segment.key)
    }
  }

  private func requireSegment(
    _ set: String, _ key: String, in transaction: any Transaction
  ) async throws -> KeelsonFlagsV1.Segment {
    try validation.checkKey(key, field: "key")
    guard let segment = try await SegmentRepository.segment(set, key, in: transaction) else {
      throw RPCError(
        .notFound, "There is no segment '\(key)' in set '\(set)'.",
        details: [.resourceInfo(.segment, set, key)])
    }
    return segment
  }
}

extension Change {
  fileprivate func record(
    _ event: FlagEvent, before: KeelsonFlagsV1.Segment?, after: KeelsonFlagsV1.Segment?
  ) {
    guard let segment = after ?? before else { return }
    record(
      event, entity: "segment", set: segment.flagSet, key: segment.key, before: before,
      after: after, payload: segment.encoded())
  }
}
