import KeelsonAPI
import KeelsonCore
import KeelsonStore
import Synchronization

extension WarmSets {
  func start(_ name: String, origin: ChangeOrigin) async throws -> API.WarmSetRun {
    try validation.checkName(name, field: "name")
    return try await mapped { try await runs.start(name, origin: origin) }
  }

  /// Sends how far a run is, as it goes, until it has ended.
  ///
  /// - Throws: `RPCError` RESOURCE_EXHAUSTED when too many watch; what `send` throws.
  func watch(
    _ name: String, run id: String = "", to send: (API.WarmSetRun) async throws -> Void
  ) async throws {
    let run = try await run(id, of: name)
    try watches.withLock { watches throws(RPCError) in
      guard watches < limits.warmWatches else {
        throw RPCError(
          .resourceExhausted,
          "\(limits.warmWatches) watch the loading of warm sets, the limit 'cache-warm-watches'.",
          details: [.retryInfo(.seconds(1))])
      }
      watches += 1
    }
    defer { watches.withLock { $0 -= 1 } }
    try await mapped { try await runs.follow(run, send) }
  }

  /// Ends a run; the audit trail says who did.
  func cancel(
    _ name: String, run id: String = "", origin: ChangeOrigin
  ) async throws -> API.WarmSetRun {
    let run = try await run(id, of: name)
    guard run.state == .running else { return run }
    return try await mapped { try await runs.cancel(run, origin: origin) }
  }

  func listRuns(
    _ request: API.ListWarmSetRunsRequest
  ) async throws -> API.ListWarmSetRunsResponse {
    let name = request.name
    if !name.isEmpty { try validation.checkName(name, field: "name") }
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: Array(name.utf8),
      limits: limits.pages)
    let rows = try await mapped {
      await runs.sweep()
      return try await database.read { transaction in
        if !name.isEmpty { _ = try await Self.require(name, in: transaction) }
        return try await WarmRunRepository.list(
          of: name, before: page.after, limit: page.size + 1, in: transaction)
      }
    }
    var response = API.ListWarmSetRunsResponse()
    (response.runs, response.nextPageToken) = page.cut(rows, by: \.id)
    return response
  }

  /// A run of a set; the newest where no id is given.
  private func run(_ id: String, of name: String) async throws -> API.WarmSetRun {
    try validation.checkName(name, field: "name")
    if let run = try await mapped({ try await runs.find(id, of: name) }) { return run }
    _ = try await get(name)
    guard id.isEmpty else {
      throw RPCError(
        .notFound,
        "Warm set '\(name)' has no run '\(id.prefix(64))'; ListWarmSetRuns has those that are kept.",
        details: [
          .resourceInfo(
            type: "keelson.cache.v1.WarmSetRun", name: String(id.prefix(64)), description: "")
        ])
    }
    throw RPCError(
      .failedPrecondition, "Warm set '\(name)' was never loaded; StartWarmSet loads it.",
      details: [
        .preconditionFailure([
          PreconditionViolation(
            type: "NO_RUN", subject: name, description: "There is no run of it.")
        ])
      ])
  }

  private func mapped<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
      return try await body()
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }
}
