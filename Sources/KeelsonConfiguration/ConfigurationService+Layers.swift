package import KeelsonAPI
import KeelsonAuditTrail
import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonCrypto
import KeelsonStore

extension ConfigurationService {
  package func reloadSettings(_ request: API.ReloadSettingsRequest, context: ServerContext)
    async throws -> API.ReloadSettingsResponse
  {
    let scope = try scope(request.application, request.environment)
    let isKnown =
      book.applications()[scope.application]?[scope.environment] != nil
      || sources.scopes.contains(scope)
    guard isKnown else { throw Self.noScope(scope) }
    let (revision, keys) = try await reload(scope, ChangeOrigin(context))
    return API.ReloadSettingsResponse(revision: revision, changedKeys: keys)
  }

  package func listApplications(
    _ request: API.ListApplicationsRequest, context: ServerContext
  ) async throws -> API.ListApplicationsResponse {
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: [], limits: limits.pages)
    let all = book.applications()
    let names = all.keys.filter { $0 > page.after }.sorted().prefix(page.size + 1)
    var applications: [API.Application] = []
    // What there is no time for is not checked here: ValidateSettings does it, an environment a call.
    let budget = budget()
    for name in names {
      var application = API.Application(name: name)
      application.schemaRevision = book.schema(of: name)?.message.revision ?? 0
      for (environment, room) in (all[name] ?? [:]).sorted(by: { $0.key < $1.key }) {
        let scope = ConfigurationScope(application: name, environment: environment)
        var item = API.ApplicationEnvironment(
          name: environment, settingCount: Int64(room.entries.count),
          apiSettingCount: Int64(room.api.count), revision: room.revision,
          loadError: room.lower.loadError)
        item.loadTime = room.lower.loadTime.map { GoogleProtobuf.Timestamp($0) }
        item.violations =
          (violations(in: room, scope, budget: budget).filter { $0.rule != .steps }
          + room.lower.refused)
          .fitting(count: limits.namedViolations, bytes: Self.listedViolationBytes)
          .map { $0.message(in: environment) }
        application.environments.append(item)
      }
      applications.append(application)
    }
    var response = API.ListApplicationsResponse()
    (response.applications, response.nextPageToken) = page.cut(applications, by: \.name)
    return response
  }

  /// So many bytes of violations are listed of each environment.
  private static let listedViolationBytes = 8 << 10

  /// Reads the layers below the API.
  ///
  /// - Throws: `RPCError` FAILED_PRECONDITION that says what cannot be read.
  func readLower(_ scope: ConfigurationScope, schema: ConfigurationSchema) async throws
    -> ConfigurationRoom.Lower
  {
    var lower = ConfigurationRoom.Lower()
    do {
      lower.sources = try await sources.load(scope)
      let layers = try LayerSource.values(of: lower.sources, schema: schema)
      lower.tag = tag(of: layers)
      lower.loadTime = .now
      return lower
    } catch let error as CancellationError {
      throw error
    } catch {
      let reason = (error as? RPCError)?.message ?? "\(error)"
      throw RPCError(
        .failedPrecondition, "The layers of \(scope) cannot be read: \(reason)")
    }
  }

  /// Names the state of layers: equal for equal values, as long as this server runs. Nothing of
  /// them can be guessed from it.
  private func tag(of layers: [LayerValues]) -> String {
    var bytes: [UInt8] = []
    for layer in layers {
      for (key, value) in layer.values.sorted(by: { $0.key < $1.key }) {
        bytes += Array("\(layer.layer.rawValue)\0\(key)\0\(value.value.kind)\0".utf8)
        bytes += Array(value.value.text.utf8) + [0]
      }
    }
    guard !bytes.isEmpty else { return "" }
    return Hexadecimal.text(HMACSHA256.code(bytes, key: salt).prefix(16))
  }

  /// Reads the layers of a scope anew and takes them, all or nothing: what brings a violation that
  /// was not there before is refused, and the old values stay. At start what there is is taken;
  /// values that break the schema do not count.
  ///
  /// - Returns: the revision of the reload and the settings that differ now.
  /// - Throws: `RPCError` FAILED_PRECONDITION when it is refused.
  func reload(
    _ scope: ConfigurationScope, _ origin: ChangeOrigin, isStart: Bool = false
  ) async throws -> (revision: Int64, keys: [String]) {
    try await turn.take {
      let (room, revision) = book.room(scope)
      let lower: ConfigurationRoom.Lower
      do {
        lower = try await readLower(scope, schema: room.schema)
      } catch let error as RPCError {
        if room.lower.loadError != error.message {
          book.note(scope) { $0.loadError = error.message }
          try await refuse(scope, origin, [], reason: error.message)
        }
        throw error
      }
      await loadDataKeys(of: scope)
      guard isStart || lower.sources != room.lower.sources else {
        book.note(scope) {
          $0.loadTime = lower.loadTime
          $0.loadError = ""
          $0.refused = []
        }
        return (revision, [])
      }
      let next = room.with(lower: lower)
      let found = violations(in: next, scope, budget: budget())
      // By what is wrong where: the words may differ. Where not all could be checked before, chance
      // says which values now.
      let before = Set(violations(in: room, scope, budget: budget()).map(\.place))
      let wasCut = before.contains { $0.rule == .steps }
      let new = found.filter { !before.contains($0.place) && !(wasCut && $0.rule == .steps) }
      guard new.isEmpty || isStart else {
        book.note(scope) {
          $0.loadError = ""
          $0.refused = new
        }
        try await refuse(scope, origin, new, reason: "")
        throw RPCError.violating(
          new, code: .failedPrecondition,
          summary:
            "The layers of \(scope) were not taken, the old values stay: they break the schema",
          limit: limits.namedViolations
        ) { "settings[\"\($0.key)\"]" }
      }
      return try await take(
        lower, of: scope, origin, violations: found,
        event: isStart ? .loaded : .reloaded, keys: next.keys(differingFrom: room))
    }
  }

  private func take(
    _ lower: ConfigurationRoom.Lower, of scope: ConfigurationScope, _ origin: ChangeOrigin,
    violations: [ConfigurationViolation], event: ConfigurationEvent, keys: [String]
  ) async throws -> (revision: Int64, keys: [String]) {
    let id = UUIDv7.make(at: .now)
    book.prepare(lower, as: id)
    defer { book.forget(id) }
    let payload = API.StoredChange(
      application: scope.application, environment: scope.environment, reloadId: id)
    let limit = limits.namedViolations
    let revision = try await change(origin) { [limits] change in
      change.audit(
        AuditDraft(
          action: event == .loaded ? "configuration.loaded" : "configuration.reloaded",
          entityType: "configuration", entityID: "\(scope)",
          attributes: JSONText([
            "keys": JSONValue(keys: keys, limit: limits.batch),
            "violations": .number(Double(violations.count)),
          ])))
      change.emit(
        ConfigurationEvent.validated.draft(
          scope,
          [
            "valid": .bool(violations.isEmpty), "violations": JSONValue(violations, limit: limit),
          ]))
      return change.emit(
        event.draft(
          scope, ["keys": JSONValue(keys: keys, limit: limits.batch)], payload: payload.encoded()))
    }
    for violation in violations.prefix(limit) {
      logger.log(
        .warning, "A setting breaks its schema; it does not count.",
        [
          "application": scope.application, "environment": scope.environment,
          "setting": violation.description,
        ])
    }
    logger.log(
      .info,
      event == .loaded ? "Loaded the layers of settings." : "Reloaded the layers of settings.",
      [
        "application": scope.application, "environment": scope.environment,
        "changed": "\(keys.count)",
      ])
    return (revision, keys)
  }

  private func refuse(
    _ scope: ConfigurationScope, _ origin: ChangeOrigin, _ violations: [ConfigurationViolation],
    reason: String
  ) async throws {
    let limit = limits.namedViolations
    logger.log(
      .warning, "The layers of settings were not taken; the old values stay.",
      [
        "application": scope.application, "environment": scope.environment,
        "reason": reason.isEmpty
          ? violations.prefix(limit).map(\.description).joined(separator: "; ") : reason,
      ])
    try await change(origin) { change in
      change.audit(
        AuditDraft(
          action: "configuration.reloaded", entityType: "configuration", entityID: "\(scope)",
          attributes: JSONText(["violations": JSONValue(violations, limit: limit)]),
          outcome: .failure))
      change.emit(
        ConfigurationEvent.validated.draft(
          scope, ["valid": false, "violations": JSONValue(violations, limit: limit)]))
      change.emit(
        ConfigurationEvent.reloadRefused.draft(
          scope,
          ["violations": JSONValue(violations, limit: limit), "reason": .string(reason)]))
    }
  }
}
