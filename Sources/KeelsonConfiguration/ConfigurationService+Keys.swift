package import KeelsonAPI
package import KeelsonCore
import KeelsonCrypto
import KeelsonStore

extension ConfigurationService {
  package func rotateKey(
    _ request: API.RotateKeyRequest, responses: ResponseWriter<API.RotateKeyResponse>,
    context: ServerContext
  ) async throws {
    let scope = try scope(request.application, request.environment)
    let origin = ChangeOrigin(context)
    switch request.rotation {
    case .unspecified, .dataKey:
      try await rotateDataKey(of: scope, origin, responses)
    case .wrapping: try await rewrap(scope, origin, responses)
    case .unrecognized(let number):
      throw RPCError.invalidArgument(
        field: "rotation", "\(number) is not a rotation; use ROTATION_DATA_KEY or _WRAPPING")
    }
  }

  // MARK: A new data key

  private func rotateDataKey(
    of scope: ConfigurationScope, _ origin: ChangeOrigin,
    _ responses: ResponseWriter<API.RotateKeyResponse>
  ) async throws {
    await loadDataKeys(of: scope)
    let stored = try await read { try await DataKeyRepository.keys(scope, in: $0) }
    guard let newest = stored.last else {
      throw RPCError(
        .failedPrecondition, "\(scope) has no secrets, and so no key to rotate.")
    }
    var current = newest.number
    // A rotation that ended early goes on with the key it had made.
    let total: Int
    let older = dataKeys.usable(of: scope).filter { $0 < newest.number }
    let left = try await read { transaction in
      var left = 0
      for number in older {
        left += try await DataKeyRepository.sealedValues(with: number, in: scope, transaction)
      }
      return left
    }
    if left > 0 {
      total = left
    } else {
      let prepared = try await dataKeys.make(number: current + 1)
      total = try await begin(prepared, of: scope, origin)
      dataKeys.add(prepared, to: scope)
      current = prepared.stored.number
    }
    var progress = API.RotateKeyResponse(
      total: Int64(total), wrappingKeyId: try dataKeys.wrappingKeys().currentID)
    try await responses.write(progress)
    // What is sealed with a key that is lost stays as it is, and is told.
    for old in dataKeys.usable(of: scope) where old < current {
      while true {
        let number = current
        let count = try await withDataKeys(of: scope) {
          do {
            return try await self.change(origin) { change in
              try await self.sealAnew(scope, from: old, with: number, in: change)
            }
          } catch is NothingChanged {
            return 0
          }
        }
        guard count > 0 else { break }
        progress.done += Int64(count)
        progress.total = max(progress.total, progress.done)
        try await responses.write(progress)
      }
    }
    let missing = dataKeys.missingKeys(of: scope)
    progress.skipped = Int64(try await finish(number: current, of: scope, origin))
    progress.missingKeyIds = progress.skipped > 0 ? missing : []
    progress.finished = true
    progress.done = progress.total - min(progress.skipped, progress.total)
    try await responses.write(progress)
  }

  /// Stores a new data key: from now on it seals.
  ///
  /// - Returns: how many values are sealed with older ones.
  private func begin(
    _ prepared: DataKeys.Prepared, of scope: ConfigurationScope, _ origin: ChangeOrigin
  ) async throws -> Int {
    try await change(origin) { change in
      let current = try await DataKeyRepository.current(scope, in: change)
      guard current + 1 == prepared.stored.number else {
        throw RPCError(.aborted, "Somebody else rotates the key of \(scope); try again later.")
      }
      try await change.executeAll([
        DataKeyRepository.insert(prepared.stored, time: change.time, in: scope)
      ])
      Self.record("begun", prepared.stored.number, scope, change)
      return try await DataKeyRepository.sealedValues(
        before: prepared.stored.number, in: scope, change)
    }
  }

  /// Seals some values anew.
  ///
  /// - Throws: ``NothingChanged`` when none is left.
  private func sealAnew(
    _ scope: ConfigurationScope, from old: Int64, with number: Int64, in change: Change
  ) async throws -> Int {
    let limit = limits.rotationStep
    func renewed(_ value: API.StoredValue?, _ key: String) throws -> API.StoredValue? {
      guard let value, value.dataKey == old else { return value }
      return try dataKeys.seal(
        dataKeys.open(value, key: key, of: scope), key: key, of: scope, dataKey: number)
    }
    var statements: [SQLStatement] = []
    var payload = API.StoredChange(
      application: scope.application, environment: scope.environment)
    for var setting in try await SettingRepository.sealed(
      with: old, in: scope, limit: limit, change)
    {
      setting.value = try renewed(setting.value, setting.key)
      payload.settings.append(setting)
      statements.append(SettingRepository.set(setting, in: scope))
    }
    if statements.isEmpty {
      for var entry in try await HistoryRepository.sealed(
        with: old, in: scope, limit: limit, change)
      {
        entry.before = try renewed(entry.before, entry.key)
        entry.after = try renewed(entry.after, entry.key)
        statements.append(HistoryRepository.update(entry, in: scope))
      }
    }
    if statements.isEmpty {
      for (name, setting) in try await SnapshotRepository.sealed(
        with: old, in: scope, limit: limit, change)
      {
        var setting = setting
        setting.value = try renewed(setting.value, setting.key)
        statements.append(SnapshotRepository.update(setting, of: name, in: scope))
      }
    }
    guard !statements.isEmpty else { throw NothingChanged(revision: 0) }
    try await change.executeAll(statements)
    Self.record(
      "continued", number, scope, change, count: statements.count,
      payload: payload.settings.isEmpty ? [] : payload.encoded())
    return statements.count
  }

  /// Forgets the older data keys, unless something is left that is sealed with them.
  ///
  /// - Returns: how many values are left.
  private func finish(
    number: Int64, of scope: ConfigurationScope, _ origin: ChangeOrigin
  ) async throws -> Int {
    let left = try await change(origin) { change in
      let left = try await DataKeyRepository.sealedValues(before: number, in: scope, change)
      if left == 0 {
        try await change.executeAll([DataKeyRepository.delete(below: number, in: scope)])
      }
      Self.record("finished", number, scope, change, count: left)
      return left
    }
    await loadDataKeys(of: scope)
    return left
  }

  private static func record(
    _ step: String, _ number: Int64, _ scope: ConfigurationScope, _ change: Change,
    count: Int = 0, payload: [UInt8] = []
  ) {
    let data: [String: JSONValue] = [
      "rotation": "data-key", "step": .string(step), "data_key": .number(Double(number)),
      "values": .number(Double(count)),
    ]
    change.audit(
      AuditDraft(
        action: "configuration.rotate_key", entityType: "configuration", entityID: "\(scope)",
        attributes: JSONText(.object(data))))
    change.emit(ConfigurationEvent.encrypted.draft(scope, data, payload: payload))
  }

  // MARK: A new key encryption key

  private func rewrap(
    _ scope: ConfigurationScope, _ origin: ChangeOrigin,
    _ responses: ResponseWriter<API.RotateKeyResponse>
  ) async throws {
    let id = try await dataKeys.freshID()
    await loadDataKeys(of: scope)
    let stored = try await read { try await DataKeyRepository.keys(scope, in: $0) }
    guard !stored.isEmpty else {
      throw RPCError(
        .failedPrecondition, "\(scope) has no secrets, and so no key to wrap.")
    }
    var progress = API.RotateKeyResponse(
      total: Int64(stored.count), wrappingKeyId: id)
    try await responses.write(progress)
    for key in stored {
      if key.wrapped.keyID != id, dataKeys.isLost(key.number, of: scope) {
        progress.skipped += 1
        progress.missingKeyIds = dataKeys.missingKeys(of: scope)
      } else if key.wrapped.keyID != id {
        let wrapped = try await withDataKeys(of: scope) {
          try await self.dataKeys.rewrap(key, of: scope)
        }
        try await change(origin) { change in
          try await change.executeAll([
            DataKeyRepository.update(wrapped, from: key.wrapped.keyID, in: scope)
          ])
          let data: [String: JSONValue] = [
            "rotation": "wrapping", "data_key": .number(Double(key.number)),
            "wrapping_key": .string(id),
          ]
          change.audit(
            AuditDraft(
              action: "configuration.rotate_key", entityType: "configuration",
              entityID: "\(scope)", attributes: JSONText(.object(data))))
          change.emit(ConfigurationEvent.encrypted.draft(scope, data))
        }
      }
      progress.done += 1
      progress.finished = progress.done == progress.total
      try await responses.write(progress)
    }
  }
}
