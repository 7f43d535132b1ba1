package import KeelsonAPI
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  package func createSnapshot(_ request: API.CreateSnapshotRequest, context: ServerContext)
    async throws -> API.Snapshot
  {
    let scope = try scope(request.application, request.environment)
    try names.check(request.name, field: "name")
    try names.checkDescription(request.description, field: "description")
    return try await change(ChangeOrigin(context)) { [limits] change in
      guard let environment = try await EnvironmentRepository.environment(scope, in: change) else {
        throw Self.noScope(scope)
      }
      guard try await SnapshotRepository.snapshot(scope, request.name, in: change) == nil else {
        throw RPCError(
          .alreadyExists, "\(scope) has a snapshot '\(request.name)' already.",
          details: [
            .resourceInfo(
              type: "keelson.configuration.v1.Snapshot", name: scope.subject(request.name),
              description: "")
          ])
      }
      guard try await SnapshotRepository.count(scope, in: change) < limits.snapshots else {
        throw RPCError(
          .resourceExhausted,
          "\(scope) has \(limits.snapshots) snapshots, the limit; delete one first.")
      }
      var snapshot = API.Snapshot(
        application: scope.application, environment: scope.environment, name: request.name,
        description: request.description, revision: environment.revision)
      snapshot.settingCount = Int64(environment.settings)
      snapshot.createTime = GoogleProtobuf.Timestamp(change.time)
      snapshot.actor = change.origin.actor
      try await change.executeAll(SnapshotRepository.insert(snapshot))
      change.audit(
        AuditDraft(
          action: "snapshot.created", entityType: "configuration_snapshot",
          entityID: scope.subject(request.name), after: JSONText(snapshot.json)))
      change.emit(
        ConfigurationEvent.snapshotCreated.draft(scope, ["name": .string(request.name)]))
      return snapshot
    }
  }

  package func getSnapshot(_ request: API.GetSnapshotRequest, context: ServerContext)
    async throws -> API.GetSnapshotResponse
  {
    let scope = try scope(request.application, request.environment)
    try names.check(request.name, field: "name")
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    let (snapshot, stored) = try await read { transaction in
      guard
        let snapshot = try await SnapshotRepository.snapshot(
          scope, request.name, in: transaction)
      else { throw Self.noSnapshot(request.name, scope) }
      return (
        snapshot,
        try await SnapshotRepository.settings(
          scope, request.name, after: page.after, limit: page.size + 1, in: transaction)
      )
    }
    let schema = book.schema(of: scope.application)?.rules ?? .open
    var response = API.GetSnapshotResponse()
    response.snapshot = snapshot
    let settings = stored.map { stored in
      var setting = API.Setting(
        application: scope.application, environment: scope.environment, key: stored.key,
        layer: .api, revision: stored.revision, updateActor: stored.actor)
      setting.updateTime = GoogleProtobuf.Timestamp(UnixTime(microseconds: stored.updateTime))
      let isSecret = schema.isSensitive(stored.key)
      setting.sensitive = isSecret || stored.value?.isSealed == true
      setting.masked = setting.sensitive
      setting.value = stored.value?.shown(masked: isSecret)
      setting.etag = etag(stored.revision)
      return setting
    }
    (response.settings, response.nextPageToken) = page.cut(settings, by: \.key)
    return response
  }

  package func listSnapshots(_ request: API.ListSnapshotsRequest, context: ServerContext)
    async throws -> API.ListSnapshotsResponse
  {
    let scope = try scope(request.application, request.environment)
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    let snapshots = try await read {
      try await SnapshotRepository.list(
        scope, after: page.after, limit: page.size + 1, in: $0)
    }
    var response = API.ListSnapshotsResponse()
    (response.snapshots, response.nextPageToken) = page.cut(snapshots, by: \.name)
    return response
  }

  package func deleteSnapshot(_ request: API.DeleteSnapshotRequest, context: ServerContext)
    async throws -> API.DeleteSnapshotResponse
  {
    let scope = try scope(request.application, request.environment)
    try names.check(request.name, field: "name")
    return try await change(ChangeOrigin(context)) { change in
      guard
        let snapshot = try await SnapshotRepository.snapshot(scope, request.name, in: change)
      else { throw Self.noSnapshot(request.name, scope) }
      try await change.executeAll(SnapshotRepository.delete(scope, request.name))
      change.audit(
        AuditDraft(
          action: "snapshot.deleted", entityType: "configuration_snapshot",
          entityID: scope.subject(request.name), before: JSONText(snapshot.json)))
      change.emit(
        ConfigurationEvent.snapshotDeleted.draft(scope, ["name": .string(request.name)]))
      return API.DeleteSnapshotResponse()
    }
  }

  static func noSnapshot(_ name: String, _ scope: ConfigurationScope) -> RPCError {
    .notFound(
      "Snapshot", scope.subject(name),
      "\(scope) has no snapshot '\(name)'; ListSnapshots ('keelson config snapshots list') names "
        + "those there are.")
  }
}
