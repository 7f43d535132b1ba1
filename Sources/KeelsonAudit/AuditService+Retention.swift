package import KeelsonAPI
import KeelsonAuditTrail
package import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Synchronization

extension AuditService {
  package func getRetentionPolicy(
    _ request: API.GetRetentionPolicyRequest, context: ServerContext
  ) async throws -> API.RetentionPolicy {
    try await read { try await AuditRepository.policy(in: $0) } ?? .initial
  }

  package func updateRetentionPolicy(
    _ request: API.UpdateRetentionPolicyRequest, context: ServerContext
  ) async throws -> API.RetentionPolicy {
    guard var given = request.policy else {
      throw RPCError.invalidArgument(field: "policy", "is required")
    }
    try given.check(limits: limits)
    given.unknownFields = .init()
    let wanted = given
    do {
      return try await database.change(ChangeOrigin(context)) { change in
        let old = try await AuditRepository.policy(in: change) ?? .initial
        guard wanted.etag.isEmpty || wanted.etag == old.etag else {
          throw RPCError(
            .aborted,
            "policy.etag: '\(wanted.etag.prefix(64))' is not the current etag '\(old.etag)': it was "
              + "changed in between. Get it again and repeat the change.",
            details: [
              .errorInfo(
                reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": old.etag])
            ])
        }
        var new = wanted
        new.updateTime = .init(change.time)
        new.revision = change.revision
        new.stamp()
        try await AuditRepository.store(new, in: change)
        change.audit(
          AuditDraft(
            action: "audit.retention_updated", entityType: "retention_policy", entityID: "audit",
            before: JSONText(old.json), after: JSONText(new.json), category: "critical"))
        change.emit(
          EventDraft(
            type: AuditEventType.retentionUpdated, subject: "audit", data: JSONText(new.json),
            payload: new.encoded()))
        return new
      }
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  package func archiveEntries(
    _ request: API.ArchiveEntriesRequest, context: ServerContext
  ) async throws -> API.ArchiveEntriesResponse {
    var check = AuditFieldCheck()
    let before = check.time(request.beforeTime, "before_time")
    let now = UnixTime.now
    if let before, before > now { check.add("before_time", "\(before) is in the future") }
    try check.finish()
    let result = try await archive(
      before: before, now: now, origin: ChangeOrigin(context), onlyTells: request.validateOnly)
    return API.ArchiveEntriesResponse(
      archives: result.archives.map { API.Archive($0) }, archived: result.archived,
      deleted: result.deleted)
  }

  /// Archives by the policy, or what was recorded before a time.
  ///
  /// - Throws: `RPCError`.
  func archive(
    before: UnixTime?, now: UnixTime = .now, origin: ChangeOrigin, onlyTells: Bool = false
  ) async throws -> Archiver.Result {
    let isFree = isArchiving.withLock { isArchiving in
      defer { isArchiving = true }
      return !isArchiving
    }
    guard isFree else {
      throw RPCError(
        .resourceExhausted, "This server is archiving already; try again when it is done.",
        details: [.retryInfo(.seconds(30))])
    }
    defer { isArchiving.withLock { $0 = false } }
    let rules = RetentionRules(
      try await read { try await AuditRepository.policy(in: $0) } ?? .initial)
    let archiver = Archiver(
      database: database, key: signingKey, folder: configuration.archiveFolder, limits: limits)
    do {
      // Files block, and a loop must not: elsewhere.
      return try await offLoop {
        try await archiver.run(
          before: before ?? rules.archiveTime(at: now), rules: rules, now: now, origin: origin,
          onlyTells: onlyTells)
      }
    } catch let error as StoreError {
      throw RPCError(error)
    } catch let error as AuditChainBreak {
      logger.log(
        .error, "Nothing is archived: the audit trail does not verify.",
        ["sequence": "\(error.sequence)", "finding": error.message])
      throw RPCError(
        .dataLoss,
        "Nothing was archived or deleted, because the trail does not verify: \(error.message)")
    } catch let error as AuditFolderError {
      logger.log(.error, "Archiving failed; nothing was deleted.", ["error": "\(error)"])
      throw RPCError(
        .unavailable, "The archive could not be written, so nothing was deleted; the log says why.",
        cause: "\(error)")
    }
  }

  /// Runs a body on threads that may block.
  func offLoop<Result: Sendable>(
    _ body: @escaping @Sendable () async throws -> Result
  ) async throws -> Result {
    try await withTaskExecutorPreference(files) { try await body() }
  }

  package func getArchive(
    _ request: API.GetArchiveRequest, context: ServerContext
  ) async throws -> API.Archive {
    API.Archive(try await archive(request.name))
  }

  /// - Throws: `RPCError` NOT_FOUND.
  func archive(_ name: String) async throws -> AuditArchiveManifest {
    guard !name.isEmpty else { throw RPCError.invalidArgument(field: "name", "is required") }
    guard let stored = try await read({ try await AuditRepository.archive(named: name, in: $0) })
    else {
      throw RPCError(
        .notFound, "There is no archive '\(name.prefix(128))'; ListArchives names them.",
        details: [
          .resourceInfo(
            type: "keelson.audit.v1.Archive", name: String(name.prefix(128)), description: "")
        ])
    }
    return try signed(stored, by: try await verifyingKeys())
  }

  /// - Throws: `RPCError` DATA_LOSS when it is not what was signed.
  private func signed(
    _ stored: StoredArchive, by keys: [String: VerifyingKey]
  ) throws -> AuditArchiveManifest {
    do {
      return try stored.manifest(keys)
    } catch {
      logger.log(
        .error, "A stored archive is not what was signed: verify the trail.",
        ["archive": stored.name, "finding": error.message])
      throw RPCError(
        .dataLoss,
        "What the database says of the archive '\(stored.name.prefix(128))' is not what was signed: "
          + "\(error.message) VerifyEntries checks the whole trail.")
    }
  }

  package func listArchives(
    _ request: API.ListArchivesRequest, context: ServerContext
  ) async throws -> API.ListArchivesResponse {
    let page = try AuditPageRequest(
      size: request.pageSize, token: request.pageToken, kind: "archives", fields: [],
      limits: limits)
    let archives = try await read {
      try await AuditRepository.archives(before: page.before, limit: page.size + 1, in: $0)
    }
    let keys = try await verifyingKeys()
    var response = API.ListArchivesResponse()
    response.archives = try archives.prefix(page.size).map { API.Archive(try signed($0, by: keys)) }
    if archives.count > page.size, let last = response.archives.last {
      response.nextPageToken = page.token(before: last.lastSequence)
    }
    return response
  }

  package func eraseSubject(
    _ request: API.EraseSubjectRequest, context: ServerContext
  ) async throws -> API.EraseSubjectResponse {
    var check = AuditFieldCheck()
    check.text(request.subject, "subject", limits.nameBytes, isRequired: true)
    check.text(request.reason, "reason", limits.textBytes)
    try check.finish()
    do {
      let erased = try await database.change(ChangeOrigin(context)) { change in
        guard
          let erased = try await AuditRepository.erase(
            request.subject, at: change.time, in: change)
        else {
          throw RPCError(
            .notFound,
            "Nothing is kept under that subject's name: either no entry names it, or it was erased."
          )
        }
        // The trail must not keep what is to be forgotten: the key's id stands for the name.
        let about: [String: JSONValue] = [
          "entries": JSONValue(number: erased.entries), "reason": .string(request.reason),
        ]
        change.audit(
          AuditDraft(
            action: AuditRepository.erasureAction,
            entityType: AuditRepository.erasureEntityType, entityID: erased.keyID,
            attributes: JSONText(.object(about)), category: "critical"))
        change.emit(
          EventDraft(
            type: AuditEventType.subjectErased, subject: erased.keyID,
            data: JSONText(["entries": JSONValue(number: erased.entries)])))
        return erased
      }
      subjects.forget(erased.keyID)
      await purge()
      return API.EraseSubjectResponse(entries: erased.entries)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// Has the destroyed key leave the database's files too, as far as this engine can.
  private func purge() async {
    do {
      // Readers of older states keep them for moments.
      for _ in 0..<20 {
        if try await database.purge() { return }
        try await Task.sleep(for: .milliseconds(50))
      }
      logger.log(
        .warning,
        "A subject was erased, but the database's log could not be emptied at once: the wrapped key "
          + "stays in it until it is overwritten.")
    } catch {
      logger.log(
        .warning, "A subject was erased, but the database's log could not be emptied.",
        ["error": "\(error)"])
    }
  }
}

extension KeelsonAuditV1.Archive {
  init(_ manifest: AuditArchiveManifest) {
    self.init()
    name = manifest.name
    firstSequence = manifest.firstSequence
    lastSequence = manifest.lastSequence
    entries = manifest.entries
    firstTime = .init(manifest.firstTime)
    lastTime = .init(manifest.lastTime)
    previousHash = manifest.previousHash
    lastHash = manifest.lastHash
    sizeBytes = manifest.sizeBytes
    fileHash = manifest.fileHash
    createTime = .init(manifest.createTime)
    keyId = manifest.keyID
    signature = manifest.signature
    signedText = manifest.signedText
  }
}
