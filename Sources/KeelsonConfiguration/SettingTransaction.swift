import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonStore

/// One change of the settings of a scope, within its database transaction: checks every edit,
/// seals what is secret, and writes state, history, audit entries and events.
struct SettingTransaction: Sendable {
  typealias API = KeelsonConfigurationV1

  let scope: ConfigurationScope
  let change: Change
  let limits: ConfigurationLimits
  let dataKeys: DataKeys
  /// The layers below the API, as this server has them.
  let base: [String: EffectiveConfiguration.Setting]
  let schema: ConfigurationSchema
  /// A data key that was made for a scope that may have none yet.
  let prepared: DataKeys.Prepared?
  /// What the checks of the request may take.
  let budget: ValidationBudget

  /// What an edit comes to.
  struct Outcome: Sendable {
    var key: String
    var before: API.StoredSetting?
    var after: API.StoredSetting?
  }

  /// What a change comes to before it is written.
  struct Plan: Sendable {
    var outcomes: [Outcome] = []
    /// What is set afterwards of the keys that the edits are about.
    var stored: [String: API.StoredSetting] = [:]
    var violations: [(edit: SettingEdit, violation: ConfigurationViolation)] = []
    /// Whether a value was sealed.
    var seals = false
    /// Whether ``SettingTransaction/prepared`` has to be stored.
    var usesPrepared = false
  }

  /// Checks the edits against what is stored and the schema. Edits that change nothing are left
  /// out.
  ///
  /// - Throws: `RPCError` ABORTED for a stale etag, FAILED_PRECONDITION for a missing key;
  ///   ``UnknownDataKey``, ``NeedsDataKey``.
  func plan(_ edits: [SettingEdit]) async throws -> Plan {
    let current = try await SettingRepository.settings(scope, keys: edits.map(\.key), in: change)
    var plan = Plan()
    plan.stored = current
    for edit in edits {
      let before = current[edit.key]
      let currentTag = etag(before?.revision ?? 0)
      guard edit.etag.isEmpty || edit.etag == currentTag else {
        throw RPCError.staleETag(edit.etag, current: currentTag, field: edit.etagField)
      }
      let wanted: (value: API.StoredValue, plain: SettingValue, isSecret: Bool)?
      switch edit.kind {
      case .delete, .restore(nil): wanted = nil
      case .set(let value, let sensitive):
        let isSecret = sensitive || isSecret(edit.key, before)
        wanted = (API.StoredValue(), value, isSecret)
      case .restore(let value?):
        guard
          let plain = try SettingValue(dataKeys.open(value, key: edit.key, of: scope))
        else { continue }
        wanted = (value, plain, value.isSealed || isSecret(edit.key, before))
      }
      if let wanted {
        switch schema.check(
          edit.key, LayerValue(wanted.plain, isSensitive: wanted.isSecret), in: .api,
          maximumValueBytes: limits.valueBytes, budget: budget)
        {
        case .failure(let list): plan.violations += list.violations.map { (edit, $0) }
        case .success(let setting):
          if try isSame(setting.value, secret: wanted.isSecret, as: before) { continue }
          let value =
            wanted.value.isSealed
            ? wanted.value
            : try await stored(setting.value, secret: wanted.isSecret, edit.key, &plan)
          plan.outcomes.append(
            Outcome(key: edit.key, before: before, after: makeSetting(edit.key, value)))
        }
      } else if before != nil {
        if let rule = schema.rule(for: edit.key), rule.isRequired, base[edit.key] == nil {
          plan.violations.append(
            (
              edit,
              ConfigurationViolation(
                key: edit.key, layer: .api, rule: .required,
                message: "is required and no other layer gives it; set it to "
                  + "\(rule.type.phrase) instead")
            ))
        }
        plan.outcomes.append(Outcome(key: edit.key, before: before, after: nil))
      }
    }
    for outcome in plan.outcomes { plan.stored[outcome.key] = outcome.after }
    return plan
  }

  private func isSecret(_ key: String, _ before: API.StoredSetting?) -> Bool {
    before?.value?.isSealed == true || schema.isSensitive(key)
      || base[key]?.isSensitive == true
  }

  private func isSame(
    _ value: SettingValue, secret: Bool, as before: API.StoredSetting?
  ) throws -> Bool {
    guard let before, before.value?.isSealed == secret else { return false }
    do {
      return try SettingValue(dataKeys.open(before.value, key: before.key, of: scope)) == value
    } catch let error as RPCError where error.code == .failedPrecondition {
      // Its key is gone; setting it anew is the way out.
      return false
    }
  }

  private func makeSetting(_ key: String, _ value: API.StoredValue) -> API.StoredSetting {
    API.StoredSetting(
      key: key, value: value, revision: change.revision, updateTime: change.time.microseconds,
      actor: change.origin.actor)
  }

  private func stored(
    _ value: SettingValue, secret: Bool, _ key: String, _ plan: inout Plan
  ) async throws -> API.StoredValue {
    guard secret else { return API.StoredValue(content: .plain(value.message)) }
    let current = try await DataKeyRepository.current(scope, in: change)
    plan.seals = true
    // Where the key is lost a new one seals, so that secrets can be set anew.
    if current == 0 || dataKeys.isLost(current, of: scope) {
      guard let prepared, prepared.stored.number == current + 1 else {
        throw NeedsDataKey(scope: scope, number: current + 1)
      }
      plan.usesPrepared = true
      return try DataKeys.seal(value.message, key: key, of: scope, with: prepared)
    }
    return try dataKeys.seal(value.message, key: key, of: scope, dataKey: current)
  }

  // MARK: Writing

  /// Writes what a plan comes to. The first event's revision is the change's.
  ///
  /// - Parameter action: for the history and the audit trail: `set`, `rolled_back`.
  func write(
    _ plan: Plan, action: String, environment: EnvironmentRepository.Environment
  ) async throws {
    var statements: [SQLStatement] = []
    if plan.usesPrepared, let prepared {
      statements.append(DataKeyRepository.insert(prepared.stored, time: change.time, in: scope))
    }
    var stored = API.StoredChange()
    stored.application = scope.application
    stored.environment = scope.environment
    var environment = environment
    let (settingsBefore, bytesBefore) = (environment.settings, environment.bytes)
    var changeBytes = 0
    for outcome in plan.outcomes {
      if let after = outcome.after {
        statements.append(SettingRepository.set(after, in: scope))
        stored.settings.append(after)
        changeBytes += after.storedBytes
        if outcome.before == nil { environment.settings += 1 }
      } else {
        statements.append(SettingRepository.delete(outcome.key, in: scope))
        stored.removedKeys.append(outcome.key)
        environment.settings -= 1
      }
      environment.bytes += outcome.after?.storedBytes ?? 0
      environment.bytes -= outcome.before?.storedBytes ?? 0
      let word = action == "set" && outcome.after == nil ? "deleted" : action
      var outcome = outcome
      if let sealed = outcome.after?.value, sealed.isSealed,
        outcome.before?.value?.isSealed == false
      {
        // It was no secret before; what the past has of it is sealed as well.
        let past = SealingOfSecrets(
          scope: scope, change: change, dataKeys: dataKeys,
          prepared: plan.usesPrepared ? prepared : nil)
        statements += try await past.sealPast(of: outcome.key, with: sealed.dataKey)
        let before = try past.sealed(outcome.before?.value, outcome.key, sealed.dataKey)
        outcome.before?.value = before
      }
      statements.append(
        HistoryRepository.insert(
          HistoryRepository.Entry(
            revision: change.revision, key: outcome.key, time: change.time, action: word,
            actor: change.origin.actor, correlationID: change.origin.correlationID,
            before: outcome.before?.value, after: outcome.after?.value), in: scope))
      audit(outcome, action: word)
    }
    guard environment.settings <= max(limits.settings, settingsBefore) else {
      throw RPCError(
        .resourceExhausted,
        "\(scope) would have \(environment.settings) settings; at most \(limits.settings) are "
          + "allowed. Delete some, or keep lists and objects in one setting.")
    }
    guard environment.bytes <= max(limits.environmentBytes, bytesBefore) else {
      throw RPCError(
        .resourceExhausted,
        "The settings of \(scope) would have \(environment.bytes) bytes; at most "
          + "\(limits.environmentBytes) are allowed. Delete some, or keep large values elsewhere.")
    }
    guard changeBytes <= limits.changeBytes else {
      throw RPCError(
        .resourceExhausted,
        "The change would set \(changeBytes) bytes of keys and values; at most "
          + "\(limits.changeBytes) are allowed in one change. Make several of it.")
    }
    environment.history += plan.outcomes.count
    environment.revision = change.revision
    try await change.executeAll(statements)
    // A tenth more than are kept, so that not every change has to look for the oldest.
    if environment.history > limits.history + limits.history / 10,
      let pruned = try await HistoryRepository.prune(
        scope, keeping: limits.history, in: change)
    {
      environment.history = pruned.left
      environment.historyFloor = pruned.floor
    }
    try await change.executeAll([EnvironmentRepository.set(environment, of: scope)])
    let keys = plan.outcomes.map(\.key)
    change.emit(
      ConfigurationEvent.updated.draft(
        scope, ["keys": JSONValue(keys: keys, limit: limits.batch), "action": .string(action)],
        payload: stored.encoded()))
    if plan.seals {
      let sealed = plan.outcomes.filter { $0.after?.value?.isSealed == true }.map(\.key)
      change.emit(
        ConfigurationEvent.encrypted.draft(
          scope, ["keys": JSONValue(keys: sealed, limit: limits.batch)]))
    }
  }

  private func audit(_ outcome: Outcome, action: String) {
    change.audit(
      AuditDraft(
        action: "setting.\(action)", entityType: "setting", entityID: scope.subject(outcome.key),
        before: outcome.before.map { JSONText($0.auditJSON) },
        after: outcome.after.map { JSONText($0.auditJSON) }))
  }
}

/// A value has to be sealed, and the scope has no data key: make one and repeat.
struct NeedsDataKey: Error {
  var scope: ConfigurationScope
  var number: Int64
}

extension KeelsonConfigurationV1.StoredSetting {
  /// Of its key and its value, as they are stored.
  var storedBytes: Int { key.utf8.count + (value?.encoded().count ?? 0) }

  /// The setting as the audit trail has it: without its value, where that is sealed.
  var auditJSON: JSONValue {
    var members: [String: JSONValue] = ["key": .string(key)]
    if case .plain(let plain)? = value?.content {
      members["value"] = plain.known?.json ?? .null
    } else {
      members["value"] = .string(KeelsonConfigurationV1.SettingValue.maskText)
      members["sensitive"] = .bool(true)
    }
    return .object(members)
  }
}
