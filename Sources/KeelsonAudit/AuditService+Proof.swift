package import KeelsonAPI
import KeelsonAuditTrail
package import KeelsonCore
import KeelsonCrypto
import KeelsonStore
import Synchronization

extension AuditService {
  package func verifyEntries(
    _ request: API.VerifyEntriesRequest, context: ServerContext
  ) async throws -> API.VerifyEntriesResponse {
    guard request.startSequence >= 0, request.endSequence >= 0 else {
      throw RPCError.invalidArgument(field: "start_sequence", "a sequence number is negative")
    }
    guard request.endSequence == 0 || request.endSequence >= request.startSequence else {
      throw RPCError.invalidArgument(
        field: "end_sequence",
        "\(request.endSequence) is below start_sequence, \(request.startSequence)")
    }
    // One at a time: each hashes the whole trail on threads that archiving needs as well.
    let isFree = isVerifying.withLock { isVerifying in
      defer { isVerifying = true }
      return !isVerifying
    }
    guard isFree else {
      throw RPCError(
        .resourceExhausted, "This server is verifying already; try again when it is done.",
        details: [.retryInfo(.seconds(10))])
    }
    defer { isVerifying.withLock { $0 = false } }
    await recordRead(
      "audit.verify_entries", of: "", context,
      [
        "start_sequence": JSONValue(number: request.startSequence),
        "end_sequence": JSONValue(number: request.endSequence),
      ])
    let report: AuditVerification.Report
    do {
      let verification = AuditVerification(
        database: database, keys: try await verifyingKeys(),
        trusted: Set(trustedKeys.keys),
        archiveFolder: configuration.archiveFolder, limits: limits)
      // Hashing takes long and files block, and a loop must not: elsewhere.
      report = try await offLoop {
        try await verification.run(start: request.startSequence, end: request.endSequence)
      }
    } catch let error as StoreError {
      throw RPCError(error)
    } catch let error as AuditFolderError {
      logger.log(.error, "An archive cannot be verified.", ["error": "\(error)"])
      throw RPCError(
        .unavailable, "The file of an archive cannot be read; the log says why.",
        cause: "\(error)")
    }
    if let failure = report.failure {
      logger.log(
        .error, "The audit trail does not verify.",
        ["sequence": "\(failure.sequence)", "finding": failure.message])
    }
    return API.VerifyEntriesResponse(
      valid: report.failure == nil, startSequence: report.start, endSequence: report.end,
      entries: report.entries, checkpoints: report.checkpoints,
      failedSequence: report.failure?.sequence ?? 0, failedEntryId: report.failedID,
      failure: report.failure?.message ?? "", endHash: report.endHash,
      archivedSequence: report.archived, trustedKeyIds: report.reliedUpon.sorted(),
      untrustedKeyIds: report.untrusted.sorted(), unreadArchives: report.unreadArchives,
      unreadArchiveCount: report.unreadArchiveCount)
  }

  /// The keys that ever signed, by id; those that are trusted from their files. Only what those
  /// signed counts: whoever may write to the database may make any other known.
  func verifyingKeys() async throws -> [String: VerifyingKey] {
    var keys: [String: VerifyingKey] = [:]
    for stored in try await read({ try await AuditRepository.signingKeys(in: $0) }) {
      guard let key = try? VerifyingKey(pem: stored.pem), key.id == stored.id else { continue }
      keys[key.id] = key
    }
    return keys.merging(trustedKeys) { $1 }
  }

  package func createCheckpoint(
    _ request: API.CreateCheckpointRequest, context: ServerContext
  ) async throws -> API.Checkpoint {
    if let wait = checkpointAllowance.withLock({ $0.take() }) {
      throw RPCError(
        .resourceExhausted,
        "This server signs \(limits.checkpointsPerHour) checkpoints an hour when asked; try again "
          + "later, or take the newest that there is.",
        details: [.retryInfo(wait)])
    }
    do {
      let origin = ChangeOrigin(context)
      guard let checkpoint = try await checkpointer.make(onlyIfDue: false, askedBy: origin) else {
        throw RPCError(.internalError, "No checkpoint was made.")
      }
      return API.Checkpoint(checkpoint)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  package func getCheckpoint(
    _ request: API.GetCheckpointRequest, context: ServerContext
  ) async throws -> API.Checkpoint {
    guard request.number >= 0 else {
      throw RPCError.invalidArgument(field: "number", "\(request.number) is negative")
    }
    let checkpoint = try await read { transaction in
      request.number == 0
        ? try await AuditRepository.checkpoints(before: .max, limit: 1, in: transaction).first
        : try await AuditRepository.checkpoint(request.number, in: transaction)
    }
    guard let checkpoint else {
      throw RPCError(
        .notFound,
        request.number == 0
          ? "No checkpoint has been signed yet; CreateCheckpoint signs one."
          : "There is no checkpoint \(request.number).",
        details: [
          .resourceInfo(
            type: "keelson.audit.v1.Checkpoint", name: "\(request.number)", description: "")
        ])
    }
    return API.Checkpoint(checkpoint)
  }

  package func listCheckpoints(
    _ request: API.ListCheckpointsRequest, context: ServerContext
  ) async throws -> API.ListCheckpointsResponse {
    let page = try AuditPageRequest(
      size: request.pageSize, token: request.pageToken, kind: "checkpoints", fields: [],
      limits: limits)
    let checkpoints = try await read {
      try await AuditRepository.checkpoints(before: page.before, limit: page.size + 1, in: $0)
    }
    var response = API.ListCheckpointsResponse()
    response.checkpoints = checkpoints.prefix(page.size).map { API.Checkpoint($0) }
    if checkpoints.count > page.size, let last = response.checkpoints.last {
      response.nextPageToken = page.token(before: last.number)
    }
    return response
  }

  package func listSigningKeys(
    _ request: API.ListSigningKeysRequest, context: ServerContext
  ) async throws -> API.ListSigningKeysResponse {
    let keys = try await read { try await AuditRepository.signingKeys(in: $0) }
    return API.ListSigningKeysResponse(
      keys: keys.map { key in
        API.SigningKey(
          keyId: key.id, publicKey: key.pem, createTime: .init(key.createTime),
          current: key.id == signingKey.verifyingKey.id)
      })
  }

  var checkpointer: Checkpointer {
    Checkpointer(database: database, key: signingKey, limits: limits, logger: logger)
  }
}

extension KeelsonAuditV1.Checkpoint {
  init(_ checkpoint: AuditCheckpoint) {
    self.init(
      number: checkpoint.number, sequence: checkpoint.sequence, hash_: checkpoint.hash,
      count: checkpoint.count, time: .init(checkpoint.time), previous: checkpoint.previous,
      keyId: checkpoint.keyID, signature: checkpoint.signature,
      signedText: checkpoint.signedText)
  }
}
