package import KeelsonAPI
import KeelsonAuditTrail
package import KeelsonCore
import KeelsonCrypto
package import KeelsonStore
import Synchronization

/// `keelson.audit.v1.AuditService`. Source: SYS-107 to SYS-109.
///
/// The methods stand in extensions by what they are about: recording and reading (this file),
/// streams, proof, retention.
package final class AuditService: KeelsonAuditV1.AuditServiceHandler {
  package typealias API = KeelsonAuditV1

  let database: any Database
  let configuration: AuditConfiguration
  let limits: AuditLimits
  let logger: Logger
  let telemetry: TelemetryEvents
  let appender: AuditAppender
  let subjects: SubjectKeys
  let tail: AuditTail
  let signingKey: SigningKey
  /// The keys whose signatures count: its own, and those that it was configured to trust.
  let trustedKeys: [String: VerifyingKey]
  let policy = Mutex(API.RetentionPolicy.initial)
  let exports = Mutex(0)
  let isArchiving = Mutex(false)
  let isVerifying = Mutex(false)
  /// How many entries the last page came to read at once.
  private let lastPagePace = Mutex(ReadPace.first)
  let checkpointAllowance: Mutex<CheckpointAllowance>
  let files = FileExecutor()
  /// Where the trail stood when the service started: what comes after it is told and counted.
  let startSequence = Mutex<Int64>(0)

  /// Reads the signing key, or makes it.
  ///
  /// - Throws: ``AuditFolderError`` that says what to do.
  package init(
    database: any Database, configuration: AuditConfiguration, telemetry: TelemetryEvents,
    logger: Logger
  ) throws {
    self.database = database
    self.configuration = configuration
    self.telemetry = telemetry
    self.logger = logger
    limits = configuration.limits
    checkpointAllowance = Mutex(
      CheckpointAllowance(perHour: configuration.limits.checkpointsPerHour))
    subjects = SubjectKeys(
      database: database, keyEncryptionKeys: configuration.keyEncryptionKeys,
      limits: configuration.limits, logger: logger)
    appender = AuditAppender(
      database: database, subjects: subjects, limits: configuration.limits)
    tail = AuditTail(database: database, limits: configuration.limits)
    signingKey = try SigningKeyFile.load(configuration.signingKeyFile)
    let trusted = try TrustedKeysFile.load(configuration.trustedKeysFile)
    trustedKeys = Dictionary(
      (trusted + [signingKey.verifyingKey]).map { ($0.id, $0) }, uniquingKeysWith: { $1 })
  }

  // MARK: Recording

  package func recordEntries(
    _ request: API.RecordEntriesRequest, context: ServerContext
  ) async throws -> API.RecordEntriesResponse {
    let recorder = (context.identity?.name ?? ChangeOrigin.anonymous) + " " + context.peer
    let entries = try AuditDraftCheck(limits: limits).entries(
      of: request, recorder: recorder, correlationID: context.correlationID)
    var pending: [AuditAppender.Pending] = []
    pending.reserveCapacity(entries.count)
    for entry in entries {
      if entry.subject.isEmpty {
        pending.append(.init(entry: entry.entry, hasNewID: entry.hasNewID))
      } else {
        let key = try await subjects.makeKey(of: entry.subject)
        pending.append(
          .init(entry: try key.seal(entry.entry), key: key, hasNewID: entry.hasNewID))
      }
    }
    var response = API.RecordEntriesResponse()
    response.entries = try await appender.append(pending).map { appended in
      API.RecordedEntry(
        entryId: appended.entry.id, sequence: appended.entry.sequence,
        time: .init(appended.entry.time), hash_: appended.entry.hash,
        duplicate: appended.isRepeated)
    }
    return response
  }

  // MARK: Reading

  package func getEntry(
    _ request: API.GetEntryRequest, context: ServerContext
  ) async throws -> API.AuditEntry {
    let wanted: String
    let entry: AuditEntry?
    switch request.name {
    case .entryId(let id)?:
      guard UUIDText.isValid(id) else {
        throw RPCError.invalidArgument(field: "entry_id", "'\(id.prefix(64))' is no UUID")
      }
      wanted = "with the id '\(id)'"
      entry = try await read { try await AuditRepository.entry(id: id, in: $0) }
    case .sequence(let sequence)?:
      guard sequence > 0 else {
        throw RPCError.invalidArgument(field: "sequence", "\(sequence) is not above 0")
      }
      wanted = "\(sequence)"
      entry = try await read { try await AuditRepository.entry(sequence, in: $0) }
      if entry == nil,
        let archive = try await read({ try await AuditRepository.archive(with: sequence, in: $0) })
      {
        throw RPCError(
          .notFound, "Entry \(sequence) has been moved to the archive '\(archive.name)'.",
          details: [
            .resourceInfo(
              type: "keelson.audit.v1.Archive", name: archive.name, description: "has the entry")
          ])
      }
    case nil:
      throw RPCError.invalidArgument(field: "name", "give an entry_id or a sequence")
    }
    guard let entry else {
      throw RPCError(
        .notFound, "There is no audit entry \(wanted).",
        details: [
          .resourceInfo(type: "keelson.audit.v1.AuditEntry", name: wanted, description: "")
        ])
    }
    await recordRead(
      "audit.get_entry", of: entry.id, context, ["sequence": JSONValue(number: entry.sequence)])
    return message(entry, try await subjects.known([entry.subjectKeyID]))
  }

  package func listEntries(
    _ request: API.ListEntriesRequest, context: ServerContext
  ) async throws -> API.ListEntriesResponse {
    let filter = try await resolved(try AuditFilter(request.filter, limits: limits))
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try AuditPageRequest(
      size: request.pageSize, token: request.pageToken, kind: "entries", fields: fields.encoded(),
      limits: limits)
    let written = try await written(request.filter)
    async let recorded: Void = recordRead(
      "audit.list_entries", of: "", context, ["filter": written])
    let response = try await list(AuditQuery(filter, limits: limits), page)
    await recorded
    return response
  }

  package func listUserHistory(
    _ request: API.ListUserHistoryRequest, context: ServerContext
  ) async throws -> API.ListEntriesResponse {
    var check = AuditFieldCheck()
    check.text(request.user, "user", limits.nameBytes, isRequired: true)
    let start = check.time(request.startTime, "start_time")
    let end = check.time(request.endTime, "end_time")
    if let start, let end, end <= start {
      check.add("end_time", "\(end) is not after start_time, \(start): nothing can match")
    }
    try check.finish()
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try AuditPageRequest(
      size: request.pageSize, token: request.pageToken, kind: "history", fields: fields.encoded(),
      limits: limits)
    let key = try await subjects.key(of: request.user)
    async let recorded: Void = recordRead(
      "audit.list_user_history", of: key?.pseudonym ?? request.user, context, [:])
    let query = AuditQuery(
      historyOf: [request.user] + (key.map { [$0.pseudonym] } ?? []), subjectKeyID: key?.id,
      startTime: start, endTime: end, limits: limits)
    let response = try await list(query, page)
    await recorded
    return response
  }

  private func list(
    _ query: AuditQuery, _ page: AuditPageRequest
  ) async throws -> API.ListEntriesResponse {
    var response = API.ListEntriesResponse()
    var bytes = 0
    var bound = page.before
    // One read is enough for most pages where entries have been small until now.
    var pace = ReadPace(
      most: limits.entriesPerRead, bytes: limits.readBytes,
      first: min(limits.defaultPageSize, lastPagePace.withLock { $0 }))
    defer { lastPagePace.withLock { [count = pace.count] in $0 = count } }
    while true {
      let before = bound
      // Entries may be large, so a page is read, and made, in parts.
      let wanted = min(page.size - response.entries.count, pace.count)
      let found = try await read {
        try await query.page(beyond: before, limit: wanted, .newestFirst, in: $0)
      }
      pace.took(found.entries)
      let keys = try await subjects.known(Set(found.entries.map(\.subjectKeyID)))
      for entry in found.entries {
        let message = message(entry, keys)
        bytes += message.encoded().count
        if bytes > limits.pageBytes, let last = response.entries.last {
          response.nextPageToken = page.token(before: last.sequence)
          return response
        }
        response.entries.append(message)
      }
      guard let next = found.next else { return response }
      if found.entries.count < wanted || response.entries.count == page.size {
        response.nextPageToken = page.token(before: next)
        return response
      }
      bound = next
    }
  }

  // MARK: What the methods share

  /// The filter with what stands for a subject in place of its name, as far as it has a key.
  func resolved(_ filter: AuditFilter) async throws -> AuditFilter {
    var filter = filter
    for name in Set(filter.actors + filter.entityIDs) {
      guard let key = try await subjects.key(of: name) else { continue }
      if filter.actors.contains(name) { filter.actors.append(key.pseudonym) }
      if filter.entityIDs.contains(name) { filter.entityIDs.append(key.pseudonym) }
    }
    return filter
  }

  /// A filter as an entry about a read has it: of a person who has a key, what stands for the name,
  /// since the trail must not keep what is to be forgotten.
  func written(_ filter: API.EntryFilter?) async throws -> JSONValue {
    guard var filter else { return .object([:]) }
    if let key = try await subjects.key(of: filter.actor) { filter.actor = key.pseudonym }
    if let key = try await subjects.key(of: filter.entityId) { filter.entityId = key.pseudonym }
    return filter.json
  }

  /// An entry as callers read it. One may be much larger than it is stored, so each is made when it
  /// is sent.
  ///
  /// - Parameter keys: what is known of the subjects' keys.
  func message(_ entry: AuditEntry, _ keys: [String: SubjectKeys.Known]) -> API.AuditEntry {
    guard let key = keys[entry.subjectKeyID] else {
      return API.AuditEntry(
        entry, stored: entry, subject: "",
        // A key without a row was not erased through the service.
        reading: entry.subjectKeyID.isEmpty ? .whole : .unreadable)
    }
    switch key {
    case .erased: return API.AuditEntry(entry, stored: entry, subject: "", reading: .erased)
    case .unreadable: return API.AuditEntry(entry, stored: entry, subject: "", reading: .unreadable)
    case .key(let key):
      do {
        return API.AuditEntry(
          try key.open(entry), stored: entry, subject: key.subject, reading: .whole)
      } catch {
        logger.log(
          .error, "An audit entry's personal data does not decrypt: verify the trail.",
          ["sequence": "\(entry.sequence)", "error": "\(error)"])
        return API.AuditEntry(entry, stored: entry, subject: key.subject, reading: .unreadable)
      }
    }
  }

  func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.read(body)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// Writes down that somebody reads, if the policy says so. A trail that cannot be written stays
  /// readable: the failure is an error in the log.
  func recordRead(
    _ action: String, of id: String, _ context: ServerContext, _ attributes: [String: JSONValue]
  ) async {
    guard policy.withLock({ $0.auditReads }) else { return }
    let origin = ChangeOrigin(context)
    let entry = AuditEntry(
      id: UUIDv7.make(), time: .now, actor: origin.actor, action: action,
      entityType: "audit_entry", entityID: id,
      attributes: attributes.isEmpty ? nil : JSONValue.object(attributes).text,
      category: "access", outcome: .success, correlationID: origin.correlationID,
      peer: origin.peer, userAgent: origin.userAgent)
    do {
      _ = try await appender.append([.init(entry: entry, hasNewID: true)])
    } catch {
      logger.log(
        .error, "That the audit trail was read could not be recorded.",
        ["action": action, "actor": origin.actor, "error": "\(error)"],
        correlationID: origin.correlationID)
    }
  }
}
