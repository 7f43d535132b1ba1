import KeelsonAPI
import KeelsonCore
import KeelsonCrypto
import KeelsonStore

/// Thrown out of a change that would change nothing, so that no revision is spent on it.
private struct Unchanged: Error {
  var set: KeelsonCacheV1.WarmSet
}

extension WarmSets {
  func create(_ given: API.WarmSet?, origin: ChangeOrigin) async throws -> API.WarmSet {
    guard let given else { throw RPCError.invalidArgument(field: "warm_set", "is required") }
    let set = given.normalized
    try validation.check(set)
    return try await change(origin) { [limits] change in
      guard try await WarmSetRepository.set(set.name, in: change) == nil else {
        throw RPCError(
          .alreadyExists, "There is a warm set '\(set.name)' already.",
          details: [.resourceInfo(set.name)])
      }
      guard try await WarmSetRepository.count(in: change) < limits.warmSets else {
        throw RPCError(
          .resourceExhausted,
          "There are \(limits.warmSets) warm sets, the limit 'cache-warm-sets'.")
      }
      var created = set
      created.stamp(change)
      created.createTime = created.updateTime
      try await WarmSetRepository.insert(created, change)
      change.record(.warmSetCreated, before: nil, after: created)
      return created
    }
  }

  func get(_ name: String) async throws -> API.WarmSet {
    try validation.checkName(name, field: "name")
    return try await read { try await Self.require(name, in: $0) }
  }

  func list(_ request: API.ListWarmSetsRequest) async throws -> API.ListWarmSetsResponse {
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: [], limits: limits.pages)
    let sets = try await read {
      try await WarmSetRepository.list(after: page.after, limit: page.size + 1, in: $0)
    }
    var response = API.ListWarmSetsResponse()
    (response.warmSets, response.nextPageToken) = page.cut(sets, by: \.name)
    return response
  }

  func update(
    _ given: API.WarmSet?, paths: [String], origin: ChangeOrigin
  ) async throws -> API.WarmSet {
    guard let given else { throw RPCError.invalidArgument(field: "warm_set", "is required") }
    try validation.checkName(given.name, field: "warm_set.name")
    // A mask that cannot be applied is an error even when there is no such set.
    _ = try Self.apply(paths, of: given, to: API.WarmSet())
    return try await change(origin) { [validation] change in
      let set = try await Self.require(given.name, in: change)
      try Self.check(etag: given.etag, field: "warm_set.etag", against: set.etag)
      var changed = try Self.apply(paths, of: given, to: set)
      guard changed != set else { throw Unchanged(set: set) }
      try validation.check(changed)
      changed.stamp(change)
      try await WarmSetRepository.update(changed, change)
      change.record(.warmSetUpdated, before: set, after: changed)
      return changed
    }
  }

  /// Deletes a set and forgets its runs; one that loads ends when its server hears of it.
  func delete(_ name: String, etag: String, origin: ChangeOrigin) async throws {
    try validation.checkName(name, field: "name")
    _ = try await change(origin) { change in
      let set = try await Self.require(name, in: change)
      try Self.check(etag: etag, field: "etag", against: set.etag)
      try await WarmSetRepository.delete(name, change)
      try await WarmRunRepository.deleteAll(of: name, change)
      change.record(.warmSetDeleted, before: set, after: nil)
      return set
    }
  }

  // MARK: The way of a change

  private func change(
    _ origin: ChangeOrigin, _ body: @escaping @Sendable (Change) async throws -> API.WarmSet
  ) async throws -> API.WarmSet {
    do {
      return try await database.change(origin, body)
    } catch let unchanged as Unchanged {
      return unchanged.set
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  private func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.read(body)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  static func require(
    _ name: String, in transaction: any Transaction
  ) async throws -> API.WarmSet {
    if let set = try await WarmSetRepository.set(name, in: transaction) { return set }
    throw RPCError(
      .notFound, "There is no warm set '\(name)'; ListWarmSets has those there are.",
      details: [.resourceInfo(name)])
  }

  private static func check(etag given: String, field: String, against current: String) throws {
    guard given.isEmpty || given == current else {
      throw RPCError(
        .aborted,
        "\(field): '\(given.prefix(64))' is not the current etag '\(current)': the set was changed "
          + "in between. Get it again and repeat the change.",
        details: [
          .errorInfo(reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": current])
        ])
    }
  }

  /// Applies the fields that a mask names. Source: AIP-134, AIP-161.
  private static func apply(
    _ paths: [String], of update: API.WarmSet, to set: API.WarmSet
  ) throws -> API.WarmSet {
    let all = ["description", "entries", "on_start", "concurrency"]
    guard !paths.isEmpty else {
      throw RPCError.invalidArgument(
        field: "update_mask",
        "is required: name the fields to change, or \"*\" for all of \(all.joined(separator: ", "))"
      )
    }
    guard paths == ["*"] || !paths.contains("*") else {
      throw RPCError.invalidArgument(field: "update_mask", "\"*\" stands alone")
    }
    let update = update.normalized
    var set = set
    for path in paths == ["*"] ? all : paths {
      switch path {
      case "description": set.description = update.description
      case "entries":
        set.entries = update.entries
        set.entryCount = update.entryCount
      case "on_start": set.onStart = update.onStart
      case "concurrency": set.concurrency = update.concurrency
      default:
        throw RPCError.invalidArgument(
          field: "update_mask",
          "'\(path.prefix(128))' cannot be changed; what can: \(all.joined(separator: ", "))")
      }
    }
    return set
  }
}

extension ErrorDetail {
  fileprivate static func resourceInfo(_ name: String) -> ErrorDetail {
    .resourceInfo(type: "keelson.cache.v1.WarmSet", name: name, description: "")
  }
}

extension KeelsonCacheV1.WarmSet {
  /// What a caller may set, with the defaults filled in.
  fileprivate var normalized: Self {
    var set = Self(
      name: name, description: description, entries: entries, onStart: onStart,
      concurrency: concurrency == 0 ? WarmSetValidation.defaultConcurrency : concurrency)
    set.entryCount = Int32(clamping: entries.count)
    return set
  }

  fileprivate mutating func stamp(_ change: Change) {
    updateTime = .init(change.time)
    // Every change has a revision of its own, so it names the state of the set.
    etag = "r" + String(change.revision, radix: 36)
  }

  /// For the audit trail: values by their size only, URLs without what may be a secret, of many
  /// entries the first; and a digest of all, which shows whatever was changed in them.
  fileprivate var audited: JSONText {
    var body = self
    body.entries = []
    guard case .object(var members) = body.json else { return .emptyObject }
    members["entries_sha256"] = .string(
      Hexadecimal.text(SHA256.hash(Self(entries: entries).encoded())))
    members["entries"] = .array(
      entries.prefix(Self.entriesAudited).map { entry in
        var described = entry
        described.source = nil
        guard case .object(var members) = described.json else { return .null }
        switch entry.source {
        case .value(let value): members["value_bytes"] = .number(Double(value.count))
        case .url(let url): members["url"] = .string(String(url.prefix { $0 != "?" }))
        case nil: break
        }
        return .object(members)
      })
    return JSONText(.object(members))
  }

  private static var entriesAudited: Int { 100 }
}

extension Change {
  fileprivate func record(
    _ event: CacheEvent, before: KeelsonCacheV1.WarmSet?, after: KeelsonCacheV1.WarmSet?
  ) {
    guard let name = (after ?? before)?.name else { return }
    audit(
      AuditDraft(
        action: event.action, entityType: "warm_set", entityID: name, before: before?.audited,
        after: after?.audited))
    emit(
      EventDraft(
        type: event.rawValue, subject: name, data: JSONText(["warm_set": .string(name)])))
  }
}

extension CacheEvent {
  /// What the audit trail calls it.
  fileprivate var action: String {
    switch self {
    case .warmSetCreated: "warm_set.created"
    case .warmSetUpdated: "warm_set.updated"
    case .warmSetDeleted: "warm_set.deleted"
    case .warmingStarted: "warm_set.started"
    case .warmingCancelled: "warm_set.cancelled"
    case .warmed: "warm_set.loaded"
    case .flushed: "cache.flushed"
    case .fallbackActivated: "cache.fallback_activated"
    case .fallbackEnded: "cache.fallback_ended"
    }
  }
}
