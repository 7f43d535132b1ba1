package import KeelsonAPI
package import KeelsonCore
import KeelsonStore

extension FlagService {
  package func createFlagSet(
    _ request: KeelsonFlagsV1.CreateFlagSetRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.FlagSet {
    guard var set = request.flagSet else {
      throw RPCError.invalidArgument(field: "flag_set", "is required")
    }
    set.unknownFields = .init()
    return try await createFlagSet(set, origin: ChangeOrigin(context))
  }

  /// Creates a set, for a caller or for the server itself.
  func createFlagSet(_ given: KeelsonFlagsV1.FlagSet, origin: ChangeOrigin) async throws
    -> KeelsonFlagsV1.FlagSet
  {
    var set = given
    if set.bucketing == .unspecified { set.bucketing = .v3 }
    try validation.check(set)
    let checked = set
    return try await change(origin) { [limits] change in
      guard try await FlagSetRepository.flagSet(checked.key, in: change) == nil else {
        throw RPCError(
          .alreadyExists, "There is a flag set '\(checked.key)' already.",
          details: [
            .resourceInfo(type: "keelson.flags.v1.FlagSet", name: checked.key, description: "")
          ])
      }
      guard try await FlagSetRepository.list(in: change).count < limits.sets else {
        throw RPCError(.resourceExhausted, "There are \(limits.sets) flag sets, the limit.")
      }
      var created = checked
      created.stamp(change, created: true)
      try await FlagSetRepository.insert(created, in: change)
      change.record(.flagSetCreated, before: nil, after: created)
      return created
    }
  }

  package func getFlagSet(
    _ request: KeelsonFlagsV1.GetFlagSetRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.FlagSet {
    let key = try setName(request.key, field: "key")
    return try await read { try await self.requireSet(key, field: "key", in: $0) }
  }

  package func listFlagSets(
    _ request: KeelsonFlagsV1.ListFlagSetsRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.ListFlagSetsResponse {
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: [], limits: limits.pages)
    let sets = try await read {
      try await FlagSetRepository.list(after: page.after, limit: page.size + 1, in: $0)
    }
    var response = KeelsonFlagsV1.ListFlagSetsResponse()
    (response.flagSets, response.nextPageToken) = page.cut(sets, by: \.key)
    return response
  }

  package func updateFlagSet(
    _ request: KeelsonFlagsV1.UpdateFlagSetRequest, context: ServerContext
  ) async throws -> KeelsonFlagsV1.FlagSet {
    guard let update = request.flagSet else {
      throw RPCError.invalidArgument(field: "flag_set", "is required")
    }
    let key = try setName(update.key, field: "flag_set.key")
    let paths = request.updateMask?.paths ?? []
    _ = try FlagUpdate.apply(paths, of: update, to: KeelsonFlagsV1.FlagSet())
    return try await change(ChangeOrigin(context)) { [validation] change in
      let set = try await self.requireSet(key, field: "flag_set.key", in: change)
      try FlagService.check(etag: update.etag, field: "flag_set.etag", against: set.etag)
      var changed = try FlagUpdate.apply(paths, of: update, to: set)
      if changed.bucketing == .unspecified { changed.bucketing = .v3 }
      guard changed != set else { throw Unchanged(resource: set) }
      try validation.check(changed)
      changed.stamp(change)
      try await FlagSetRepository.update(changed, in: change)
      change.record(.flagSetUpdated, before: set, after: changed)
      return changed
    }
  }
}

extension Change {
  fileprivate func record(
    _ event: FlagEvent, before: KeelsonFlagsV1.FlagSet?, after: KeelsonFlagsV1.FlagSet
  ) {
    record(
      event, entity: "flag_set", set: after.key, key: after.key, before: before, after: after,
      payload: after.encoded())
  }
}
