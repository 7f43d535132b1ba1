package import KeelsonAPI
package import KeelsonCore
import KeelsonStore

extension CacheService {
  package func createWarmSet(
    _ request: API.CreateWarmSetRequest, context: ServerContext
  ) async throws -> API.WarmSet {
    try await warmSets.create(request.warmSet, origin: ChangeOrigin(context))
  }

  package func getWarmSet(
    _ request: API.GetWarmSetRequest, context: ServerContext
  ) async throws -> API.WarmSet {
    try await warmSets.get(request.name)
  }

  package func listWarmSets(
    _ request: API.ListWarmSetsRequest, context: ServerContext
  ) async throws -> API.ListWarmSetsResponse {
    try await warmSets.list(request)
  }

  package func updateWarmSet(
    _ request: API.UpdateWarmSetRequest, context: ServerContext
  ) async throws -> API.WarmSet {
    try await warmSets.update(
      request.warmSet, paths: request.updateMask?.paths ?? [], origin: ChangeOrigin(context))
  }

  package func deleteWarmSet(
    _ request: API.DeleteWarmSetRequest, context: ServerContext
  ) async throws -> API.DeleteWarmSetResponse {
    try await warmSets.delete(request.name, etag: request.etag, origin: ChangeOrigin(context))
    return API.DeleteWarmSetResponse()
  }

  package func startWarmSet(
    _ request: API.StartWarmSetRequest, context: ServerContext
  ) async throws -> API.WarmSetRun {
    try await warmSets.start(request.name, origin: ChangeOrigin(context))
  }

  package func watchWarmSet(
    _ request: API.WatchWarmSetRequest, responses: ResponseWriter<API.WarmSetRun>,
    context: ServerContext
  ) async throws {
    try await warmSets.watch(request.name, run: request.runId) { try await responses.write($0) }
  }

  package func cancelWarmSet(
    _ request: API.CancelWarmSetRequest, context: ServerContext
  ) async throws -> API.WarmSetRun {
    try await warmSets.cancel(
      request.name, run: request.runId, origin: ChangeOrigin(context))
  }

  package func listWarmSetRuns(
    _ request: API.ListWarmSetRunsRequest, context: ServerContext
  ) async throws -> API.ListWarmSetRunsResponse {
    try await warmSets.listRuns(request)
  }
}
