package import KeelsonAPI
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonStore

extension ConfigurationService {
  package func setSetting(_ request: API.SetSettingRequest, context: ServerContext) async throws
    -> API.Setting
  {
    let scope = try scope(request.application, request.environment)
    let edit = try SettingEdit(request, names: names)
    let applied = try await apply([edit], to: scope, ChangeOrigin(context))
    guard let setting = applied.settings.first else { throw Self.noSetting(edit.key, scope) }
    return setting
  }

  package func batchSetSettings(
    _ request: API.BatchSetSettingsRequest, context: ServerContext
  ) async throws -> API.BatchSetSettingsResponse {
    let scope = try scope(request.application, request.environment)
    guard !request.changes.isEmpty else {
      throw RPCError.invalidArgument(field: "changes", "is required; give at least one")
    }
    let edits = try SettingEdit.edits(request.changes, names: names)
    let applied = try await apply(edits, to: scope, ChangeOrigin(context))
    let changed = Set(applied.keys)
    var response = API.BatchSetSettingsResponse()
    response.revision = applied.revision
    response.settings = applied.settings.filter { changed.contains($0.key) }
      .sorted { $0.key < $1.key }
    return response
  }

  package func deleteSetting(_ request: API.DeleteSettingRequest, context: ServerContext)
    async throws -> API.DeleteSettingResponse
  {
    let scope = try scope(request.application, request.environment)
    try names.checkKey(request.key, field: "key")
    let edit = SettingEdit(key: request.key, kind: .delete, etag: request.etag, field: "")
    let applied = try await apply([edit], to: scope, ChangeOrigin(context))
    guard !applied.keys.isEmpty else {
      throw RPCError.notFound(
        "Setting", scope.subject(request.key),
        "Nothing is set for '\(request.key)' of \(scope) through the API.")
    }
    var response = API.DeleteSettingResponse()
    response.revision = applied.revision
    response.setting = applied.settings.first
    return response
  }

  package func validateSettings(
    _ request: API.ValidateSettingsRequest, context: ServerContext
  ) async throws -> API.ValidateSettingsResponse {
    let scope = try scope(request.application, request.environment)
    let edits = try SettingEdit.edits(request.changes, names: names)
    var (room, _) = book.room(scope)
    let budget = budget()
    if request.reload {
      room = room.with(lower: try await readLower(scope, schema: room.schema))
    }
    if let schema = request.schema {
      room = room.with(
        schema: try ConfigurationSchema(checking: schema, limits: limits), budget: budget)
    }
    var trial = API.StoredChange(
      application: scope.application, environment: scope.environment)
    var secrets: [String: SettingValue] = [:]
    for edit in edits {
      guard case .set(let value, let sensitive) = edit.kind else {
        trial.removedKeys.append(edit.key)
        continue
      }
      if sensitive || room.api[edit.key]?.value?.isSealed == true { secrets[edit.key] = value }
      trial.settings.append(
        API.StoredSetting(
          key: edit.key, value: API.StoredValue(content: .plain(value.message))))
    }
    await loadDataKeys(of: scope)
    // What the stored schema holds for a secret is one, whatever a trial schema says; and nobody
    // learns of one by trying rules on it who may not be told it.
    let known = book.room(scope).room.secretKeys
    let violations = violations(
      in: room, scope, trying: trial, secrets: secrets, known: known,
      checksKnown: request.schema == nil || Self.isEntitled(context), budget: budget
    ).fitting(count: limits.validatedViolations, bytes: limits.violationBytes)
    telemetry?.publish(type: ConfigurationEvent.validated.rawValue) {
      TelemetryEvent(
        type: ConfigurationEvent.validated.rawValue, subject: "\(scope)",
        data: JSONText([
          "application": .string(scope.application), "environment": .string(scope.environment),
          "valid": .bool(violations.isEmpty), "dry_run": true,
          "violations": JSONValue(violations, limit: limits.namedViolations),
        ]), origin: ChangeOrigin(context))
    }
    var response = API.ValidateSettingsResponse()
    response.violations = violations.map { $0.message(in: scope.environment) }
    return response
  }

  /// Everything that is wrong in a room, with changes applied. Secrets that can be opened are
  /// checked, too.
  func violations(
    in room: ConfigurationRoom, _ scope: ConfigurationScope,
    trying trial: API.StoredChange = API.StoredChange(), secrets: [String: SettingValue] = [:],
    known: Set<String> = [], checksKnown: Bool = true, budget: ValidationBudget
  ) -> [ConfigurationViolation] {
    var room = room
    room.apply(trial)
    for (key, _) in secrets {
      // Given as a secret, so nothing of it may show in a message.
      room.apply(
        API.StoredChange(settings: [
          API.StoredSetting(
            key: key, value: API.StoredValue(content: .sealed(API.SealedValue(dataKey: -1))))
        ]))
    }
    return room.violations(
      open: { stored in
        secrets[stored.key]
          ?? (try? self.dataKeys.open(stored.value, key: stored.key, of: scope))?.known
      }, secrets: known.subtracting(secrets.keys), checksSecrets: checksKnown,
      maximumValueBytes: limits.valueBytes, budget: budget)
  }

  /// What the checks of one request may take.
  func budget() -> ValidationBudget { ValidationBudget(steps: limits.validationSteps) }

  // MARK: The way of a change

  /// Applies edits in one transaction: all of them, or none.
  ///
  /// - Returns: what came of it; when nothing differs now, the last revision and no keys.
  /// - Throws: `RPCError`: see ``SettingTransaction/plan(_:)``, INVALID_ARGUMENT that names every
  ///   violation, RESOURCE_EXHAUSTED at a limit.
  func apply(
    _ edits: [SettingEdit], to scope: ConfigurationScope, _ origin: ChangeOrigin,
    action: String = "set"
  ) async throws -> Applied {
    try await apply(to: scope, origin, action: action) { _ in edits }
  }

  /// The same with edits that come from the database, in the transaction itself.
  func apply(
    to scope: ConfigurationScope, _ origin: ChangeOrigin, action: String,
    edits: @escaping @Sendable (Change) async throws -> [SettingEdit]
  ) async throws -> Applied {
    var made: DataKeys.Prepared?
    for _ in 0..<4 {
      let prepared = made
      do {
        let applied = try await change(origin) { change in
          try await self.apply(
            edits(change), to: scope, change, action: action, prepared: prepared)
        }
        if let prepared, applied.usedPrepared { dataKeys.add(prepared, to: scope) }
        return applied
      } catch is UnknownDataKey {
        await loadDataKeys(of: scope)
      } catch let needed as NeedsDataKey {
        made = try await dataKeys.make(number: needed.number)
      } catch let unchanged as NothingChanged {
        return Applied(revision: unchanged.revision, settings: unchanged.settings)
      }
    }
    throw RPCError(.aborted, "The keys of \(scope) change meanwhile; try again.")
  }

  /// What came of edits.
  struct Applied: Sendable {
    var revision: Int64
    /// Those whose setting differs now.
    var keys: [String] = []
    /// What the transaction left of each key that an edit was about: a later change may have gone
    /// over it by the time the call is answered.
    var settings: [API.Setting]
    fileprivate var usedPrepared = false
  }

  private func apply(
    _ edits: [SettingEdit], to scope: ConfigurationScope, _ change: Change, action: String,
    prepared: DataKeys.Prepared?
  ) async throws -> Applied {
    let schema = try await requireSchema(of: scope.application, in: change)
    let environment = try await EnvironmentRepository.environment(scope, in: change)
    if environment == nil { try await checkRoom(for: scope, in: change) }
    var room = book.room(scope).room
    if schema.revision != book.schema(of: scope.application)?.message.revision ?? 0 {
      room = room.with(schema: schema.rules)
    }
    let transaction = SettingTransaction(
      scope: scope, change: change, limits: limits, dataKeys: dataKeys, base: room.base,
      schema: schema.rules, prepared: prepared, budget: budget())
    let plan = try await transaction.plan(edits)
    guard plan.violations.isEmpty else {
      throw RPCError.violating(
        plan.violations.map(\.violation),
        code: action == "set" ? .invalidArgument : .failedPrecondition,
        summary: "\(scope) would break its schema", limit: limits.namedViolations
      ) { violation in
        let edit = plan.violations.first { $0.violation == violation }?.edit
        return edit?.valueField ?? "settings[\"\(violation.key)\"]"
      }
    }
    let settings = edits.compactMap { edit in
      let stored = plan.stored[edit.key]
      return setting(
        edit.key,
        stored.flatMap { room.entry($0) } ?? room.base[edit.key].map(ConfigurationRoom.Entry.init),
        stored: stored, scope, reveals: false)
    }
    guard !plan.outcomes.isEmpty else {
      throw NothingChanged(revision: environment?.revision ?? 0, settings: settings)
    }
    try await transaction.write(
      plan, action: action,
      environment: environment
        ?? EnvironmentRepository.Environment(
          historyFloor: change.revision - 1))
    return Applied(
      revision: change.revision, keys: plan.outcomes.map(\.key), settings: settings,
      usedPrepared: plan.usesPrepared)
  }

  /// An application's schema as the transaction sees it; the application is made where there is
  /// none yet.
  func requireSchema(of application: String, in change: Change) async throws
    -> (revision: Int64, rules: ConfigurationSchema)
  {
    let revision = try await EnvironmentRepository.schemaRevision(of: application, in: change)
    guard let revision else {
      guard try await EnvironmentRepository.applications(in: change) < limits.applications else {
        throw RPCError(
          .resourceExhausted,
          "There are \(limits.applications) applications, the limit.")
      }
      let schema = API.Schema(application: application)
      try await change.executeAll([EnvironmentRepository.set(schema)])
      return (0, .open)
    }
    if revision == 0 { return (0, .open) }
    if let known = book.schema(of: application), known.message.revision == revision {
      return (revision, known.rules)
    }
    let stored = try await EnvironmentRepository.schema(of: application, in: change)
    return (revision, ConfigurationSchema(stored: stored ?? API.Schema()))
  }

  private func checkRoom(for scope: ConfigurationScope, in change: Change) async throws {
    let environments = try await EnvironmentRepository.environments(
      of: scope.application, in: change)
    guard environments.count < limits.environments else {
      throw RPCError(
        .resourceExhausted,
        "\(scope.application) has settings in \(environments.count) environments; at most "
          + "\(limits.environments) are allowed.")
    }
  }
}

/// Thrown out of a change that would change nothing, so that no revision is spent on it.
struct NothingChanged: Error {
  var revision: Int64
  var settings: [KeelsonConfigurationV1.Setting] = []
}
