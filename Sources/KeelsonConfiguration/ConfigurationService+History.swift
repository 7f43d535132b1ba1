package import KeelsonAPI
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  package func listSettingHistory(
    _ request: API.ListSettingHistoryRequest, context: ServerContext
  ) async throws -> API.ListSettingHistoryResponse {
    let scope = try scope(request.application, request.environment)
    if !request.key.isEmpty { try names.checkKey(request.key, field: "key") }
    guard request.afterRevision >= 0 else {
      throw RPCError.invalidArgument(
        field: "after_revision", "\(request.afterRevision) is negative")
    }
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    let place = try HistoryRepository.Place(token: page.after)
    let (entries, environment) = try await read { transaction in
      let environment = try await EnvironmentRepository.environment(scope, in: transaction)
      if let environment, request.afterRevision > 0 {
        try Self.check(request.afterRevision, field: "after_revision", in: environment, scope)
      }
      let entries = try await HistoryRepository.list(
        scope, key: request.key.isEmpty ? nil : request.key, after: place,
        since: request.afterRevision, limit: page.size + 1, in: transaction)
      return (entries, environment)
    }
    let schema = book.schema(of: scope.application)?.rules ?? .open
    var response = API.ListSettingHistoryResponse()
    response.oldestRevision = environment?.historyFloor ?? 0
    (response.entries, response.nextPageToken) = page.cut(
      entries.map { API.SettingHistoryEntry($0, schema: schema) }
    ) { "\($0.revision):\($0.key)" }
    return response
  }

  package func rollbackSettings(
    _ request: API.RollbackSettingsRequest, context: ServerContext
  ) async throws -> API.RollbackSettingsResponse {
    let scope = try scope(request.application, request.environment)
    guard request.keys.count <= limits.batch else {
      throw RPCError.invalidArgument(
        field: "keys",
        "has \(request.keys.count) entries; at most \(limits.batch) are allowed in one call")
    }
    for (index, key) in request.keys.enumerated() {
      try names.checkKey(key, field: "keys[\(index)]")
    }
    let only = request.keys.isEmpty ? nil : Set(request.keys)
    switch request.target {
    case .toRevision(let revision)? where revision <= 0:
      throw RPCError.invalidArgument(
        field: "to_revision", "\(revision) is no revision; give one from 1")
    case .toSnapshot(let name)?: try names.check(name, field: "to_snapshot")
    case .toRevision?: break
    case nil:
      throw RPCError.invalidArgument(
        field: "target", "is required: to_revision or to_snapshot")
    }
    await loadDataKeys(of: scope)
    let applied = try await apply(to: scope, ChangeOrigin(context), action: "rolled_back") {
      change in
      let wanted: [String: API.StoredValue?]
      switch request.target {
      case .toSnapshot(let name)?:
        wanted = try await self.values(inSnapshot: name, of: scope, change)
      case .toRevision(let revision)?:
        wanted = try await self.values(at: revision, of: scope, change)
      case nil: wanted = [:]
      }
      return wanted.filter { only?.contains($0.key) ?? true }.sorted { $0.key < $1.key }.map {
        SettingEdit(key: $0.key, kind: .restore($0.value), field: "settings[\"\($0.key)\"]")
      }
    }
    var response = API.RollbackSettingsResponse()
    response.revision = applied.revision
    response.changedKeys = applied.keys.sorted()
    return response
  }

  private func values(
    at revision: Int64, of scope: ConfigurationScope, _ change: Change
  ) async throws -> [String: API.StoredValue?] {
    guard let environment = try await EnvironmentRepository.environment(scope, in: change) else {
      throw Self.noScope(scope)
    }
    try Self.check(revision, field: "to_revision", in: environment, scope)
    guard revision < change.revision else {
      throw RPCError(
        .outOfRange,
        "to_revision: \(revision) is yet to come; the last change of \(scope) has revision "
          + "\(environment.revision).")
    }
    return try await HistoryRepository.valuesBefore(revision, in: scope, change)
  }

  private func values(
    inSnapshot name: String, of scope: ConfigurationScope, _ change: Change
  ) async throws -> [String: API.StoredValue?] {
    guard try await SnapshotRepository.snapshot(scope, name, in: change) != nil else {
      throw Self.noSnapshot(name, scope)
    }
    var wanted: [String: API.StoredValue?] = [:]
    for setting in try await SettingRepository.all(scope, in: change) {
      wanted.updateValue(nil, forKey: setting.key)
    }
    for setting in try await SnapshotRepository.settings(scope, name, in: change) {
      wanted.updateValue(setting.value, forKey: setting.key)
    }
    return wanted
  }

  static func noScope(_ scope: ConfigurationScope) -> RPCError {
    .notFound("Application", "\(scope)", "Nothing was ever set for \(scope) through the API.")
  }

  /// - Throws: `RPCError` OUT_OF_RANGE when the changes after a revision are not all kept.
  private static func check(
    _ revision: Int64, field: String, in environment: EnvironmentRepository.Environment,
    _ scope: ConfigurationScope
  ) throws {
    guard revision >= environment.historyFloor else {
      throw RPCError(
        .outOfRange,
        "\(field): the history of \(scope) reaches back to revision \(environment.historyFloor), "
          + "not to \(revision); take a later one, or a snapshot.",
        details: [
          .errorInfo(
            reason: "REVISION_COMPACTED", domain: "keelson",
            metadata: ["oldest_revision": "\(environment.historyFloor)"])
        ])
    }
  }
}

extension HistoryRepository.Place {
  /// - Throws: `RPCError` INVALID_ARGUMENT for a token that is none of ours.
  fileprivate init(token: String) throws {
    guard !token.isEmpty else {
      self.init()
      return
    }
    let parts = token.split(separator: ":", maxSplits: 1)
    guard parts.count == 2, let revision = Int64(parts[0]) else {
      throw PageRequest.foreignToken
    }
    self.init(revision: revision, key: String(parts[1]))
  }
}

extension KeelsonConfigurationV1.SettingHistoryEntry {
  fileprivate init(_ entry: HistoryRepository.Entry, schema: ConfigurationSchema) {
    self.init(
      revision: entry.revision, time: GoogleProtobuf.Timestamp(entry.time), action: entry.action,
      actor: entry.actor, correlationId: entry.correlationID, key: entry.key)
    let isSecret = schema.isSensitive(entry.key)
    sensitive = isSecret || [entry.before, entry.after].contains { $0?.isSealed == true }
    before = entry.before?.shown(masked: isSecret)
    after = entry.after?.shown(masked: isSecret)
  }
}

extension KeelsonConfigurationV1.StoredValue {
  /// The value as anybody may see it.
  func shown(masked: Bool) -> KeelsonConfigurationV1.SettingValue {
    guard case .plain(let plain)? = content, !masked else { return .masked }
    return plain
  }
}
