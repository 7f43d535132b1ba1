package import KeelsonAPI
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
    for scope in scopes {
      position = try await mapped { () async throws(CacheEngineError) in
        try await engine.invalidate(scope)
      }
      announcer.invalidated(scope, at: position, origin: origin)
    }
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
    let position = try await mapped { () async throws(CacheEngineError) in
      try await engine.invalidate(.all)
    }
    counters.add(to: .flushes)
    do {
      try await database.change(origin) { change in
        change.recordFlush(reason: request.reason, at: position)
      }
    } catch let error as StoreError {
      logger.log(
        .error, "The cache was flushed, which could not be recorded.",
        ["actor": origin.actor, "cause": "\(error)"])
      throw RPCError(error)
    }
    var response = API.FlushCacheResponse()
    response.sequence = position.sequence
    response.epoch = position.epoch
    return response
  }
}
