package import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCacheRules
package import KeelsonCore
import KeelsonStore

extension CacheService {
  package func invalidateEntries(
    _ request: API.InvalidateEntriesRequest, context: ServerContext
  ) async throws -> API.InvalidateEntriesResponse {
    let scopes = try scopes(of: request)
    let origin = ChangeOrigin(context)
    var position = CachePosition(epoch: 0, sequence: 0)
    var failure: CacheEngineError?
    // All is tried: what one engine cannot take the server does here, and makes up for later.
    for scope in scopes {
      do {
        position = try await engine.invalidate(scope)
      } catch {
        failure = failure ?? error
        continue
      }
      announcer.invalidated(scope, at: position, origin: origin)
      if case .pattern(let pattern) = scope, pattern.matchesAnyKey {
        try await recordFlush(
          reason: "pattern '\(pattern.text)'", at: position, outcome: .success, origin)
      }
    }
    if let failure { throw rpcError(failure) }
    counters.add(request.keys.count, to: .keyInvalidations)
    counters.add(request.tags.count, to: .tagInvalidations)
    counters.add(request.patterns.count, to: .patternInvalidations)
    var response = API.InvalidateEntriesResponse()
    response.sequence = position.sequence
    response.epoch = position.epoch
    return response
  }

  private func scopes(of request: API.InvalidateEntriesRequest) throws -> [Invalidation.Scope] {
    let count = request.keys.count + request.tags.count + request.patterns.count
    guard (1...limits.batch).contains(count) else {
      throw RPCError(
        .invalidArgument,
        "The request names \(count) keys, tags and patterns together; 1 to \(limits.batch) are "
          + "allowed ('cache-batch').")
    }
    for (index, key) in request.keys.enumerated() {
      try validation.checkKey(key, field: "keys[\(index)]")
    }
    for (index, tag) in request.tags.enumerated() {
      if let problem = CacheKey.tagProblem(tag) {
        throw RPCError.invalidArgument(field: "tags[\(index)]", problem)
      }
    }
    var scopes: [Invalidation.Scope] = []
    if !request.keys.isEmpty { scopes.append(.keys(request.keys)) }
    if !request.tags.isEmpty { scopes.append(.tags(request.tags)) }
    for (index, text) in request.patterns.enumerated() {
      let pattern: CachePattern
      do {
        pattern = try CachePattern(text)
      } catch {
        throw RPCError.invalidArgument(field: "patterns[\(index)]", error.description)
      }
      guard !pattern.matchesAnyKey || request.allowAll else {
        throw RPCError.invalidArgument(
          field: "patterns[\(index)]",
          "'\(text)' names no tenant, module, entity or id and so matches all keys; set "
            + "'allow_all' if that is meant")
      }
      scopes.append(.pattern(pattern))
    }
    return scopes
  }

  package func flushCache(_ request: API.FlushCacheRequest, context: ServerContext) async throws
    -> API.FlushCacheResponse
  {
    guard request.reason.utf8.count <= limits.reasonBytes else {
      throw RPCError.invalidArgument(
        field: "reason",
        "has \(request.reason.utf8.count) bytes; \(limits.reasonBytes) are allowed")
    }
    let origin = ChangeOrigin(context)
    let position: CachePosition
    do {
      position = try await engine.invalidate(.all)
    } catch {
      // What could not be done now is made up for later.
      try await recordFlush(reason: request.reason, at: nil, outcome: .failure, origin)
      throw rpcError(error)
    }
    counters.add(to: .flushes)
    announcer.invalidated(.all, at: position, origin: origin)
    try await recordFlush(reason: request.reason, at: position, outcome: .success, origin)
    var response = API.FlushCacheResponse()
    response.sequence = position.sequence
    response.epoch = position.epoch
    return response
  }

  /// Writes that everything was made void, or was to be. It is written also when the caller has gone.
  ///
  /// - Parameter position: nil when it could not be done.
  /// - Throws: `RPCError` when it cannot be written; then it stands in the log.
  private func recordFlush(
    reason: String, at position: CachePosition?, outcome: AuditEntry.Outcome,
    _ origin: ChangeOrigin
  ) async throws {
    // Without the call's deadline, too.
    let writing = Task.detached { [database] in
      try await database.change(origin) { change in
        change.recordFlush(reason: reason, at: position, outcome: outcome)
      }
    }
    do {
      try await writing.value
    } catch {
      logger.log(
        .error, "The cache was flushed, which could not be recorded.",
        ["actor": origin.actor, "reason": reason, "cause": "\(error)"])
      throw (error as? StoreError).map { RPCError($0) } ?? error
    }
  }
}
