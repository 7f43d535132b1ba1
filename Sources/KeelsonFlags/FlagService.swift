package import KeelsonAPI
package import KeelsonCore
import KeelsonFlagRules
package import KeelsonStore
import Synchronization

/// `keelson.flags.v1.FlagService`. Source: SYS-121 to SYS-126.
///
/// The methods stand in extensions by what they are about: flags (this file), segments, sets,
/// evaluation, watching.
package final class FlagService: KeelsonFlagsV1.FlagServiceHandler {
  package typealias API = KeelsonFlagsV1

  let database: any Database
  /// The environment that an empty name in a request means.
  let environment: String
  private let currentLimits: Mutex<FlagLimits>
  let book = FlagRuleBook()
  let watches: FlagWatches
  let telemetry: TelemetryEvents
  let logger: Logger

  package init(
    database: any Database, environment: String, limits: FlagLimits = FlagLimits(),
    telemetry: TelemetryEvents = TelemetryEvents(), logger: Logger
  ) {
    self.database = database
    self.environment = environment
    currentLimits = Mutex(limits)
    self.watches = FlagWatches(limits: limits)
    self.telemetry = telemetry
    self.logger = logger
  }

  // MARK: Limits

  /// Those that calls are held to.
  var limits: FlagLimits { currentLimits.withLock { $0 } }
  var validation: FlagValidation { FlagValidation(limits: limits) }

  /// Holds calls to other limits from now on. Those of watches stay as they were at the start.
  package func use(_ limits: FlagLimits) {
    currentLimits.withLock { $0 = limits }
  }

  // MARK: Flags

  package func createFlag(_ request: API.CreateFlagRequest, context: ServerContext) async throws
    -> API.Flag
  {
    guard let given = request.flag else {
      throw RPCError.invalidArgument(field: "flag", "is required")
    }
    let flag = try given.normalizedForCreation()
    try validation.check(flag)
    return try await change(ChangeOrigin(context)) { [validation, limits] change in
      _ = try await self.requireSet(flag.flagSet, field: "flag.flag_set", in: change)
      guard try await FlagRepository.flag(flag.flagSet, flag.key, in: change) == nil else {
        throw RPCError(
          .alreadyExists,
          "Flag '\(flag.key)' is already in set '\(flag.flagSet)' (it may be archived).",
          details: [.resourceInfo(.flag, flag.flagSet, flag.key)])
      }
      guard try await FlagRepository.count(flag.flagSet, in: change) < limits.flagsPerSet else {
        throw RPCError(
          .resourceExhausted, "Set '\(flag.flagSet)' holds \(limits.flagsPerSet) flags, the limit.")
      }
      try validation.checkRules(flag, segments: await self.segments(of: flag, in: change))
      try self.checkEnvironments(of: flag)
      var created = flag
      created.stamp(change, created: true)
      try await FlagRepository.insert(created, in: change)
      try await change.record(.flagCreated, before: nil, after: created)
      return created
    }
  }

  package func getFlag(_ request: API.GetFlagRequest, context: ServerContext) async throws
    -> API.Flag
  {
    let set = try setName(request.flagSet)
    return try await read { try await self.requireFlag(set, request.key, in: $0) }
  }

  package func listFlags(_ request: API.ListFlagsRequest, context: ServerContext) async throws
    -> API.ListFlagsResponse
  {
    let set = try setName(request.flagSet)
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    let query = FlagRepository.Query(
      set: set, after: page.after, limit: page.size + 1, tags: request.tags, owner: request.owner,
      type: request.type, text: request.query, showsArchived: request.showArchived)
    try validation.check(filters: request)
    let flags = try await read { transaction in
      _ = try await self.requireSet(set, field: "flag_set", in: transaction)
      return try await FlagRepository.list(query, in: transaction)
    }
    var response = API.ListFlagsResponse()
    (response.flags, response.nextPageToken) = page.cut(flags, by: \.key)
    return response
  }

  package func updateFlag(_ request: API.UpdateFlagRequest, context: ServerContext) async throws
    -> API.Flag
  {
    guard let update = request.flag else {
      throw RPCError.invalidArgument(field: "flag", "is required")
    }
    let paths = request.updateMask?.paths ?? []
    // A mask that cannot be applied is an error even when there is no such flag.
    _ = try FlagUpdate.apply(paths, of: update, to: API.Flag())
    return try await changeFlag(
      try setName(update.flagSet, field: "flag.flag_set"), update.key, etag: update.etag,
      etagField: "flag.etag", context
    ) { [validation] flag, change in
      guard flag.archiveTime == nil else { throw FlagService.archived(flag) }
      let changed = try FlagUpdate.apply(paths, of: update, to: flag)
      try validation.check(changed)
      try validation.checkRules(
        changed, segments: await self.segments(of: changed, in: change))
      return (changed, FlagService.kind(ofUpdate: flag, to: changed))
    }
  }

  package func toggleFlag(_ request: API.ToggleFlagRequest, context: ServerContext) async throws
    -> API.Flag
  {
    let name = request.environment.isEmpty ? environment : request.environment
    try validation.checkEnvironment(name, field: "environment")
    return try await changeFlag(
      try setName(request.flagSet), request.key, etag: request.etag, context
    ) { [validation] flag, _ in
      guard flag.archiveTime == nil else { throw FlagService.archived(flag) }
      var toggled = flag
      var state = flag.environments[name] ?? flag.initialState()
      state.enabled = request.enabled
      // Switching off where nothing was ever switched on changes nothing.
      if flag.environments[name] != nil || request.enabled { toggled.environments[name] = state }
      try validation.check(toggled)
      return (toggled, .flagToggled)
    }
  }

  package func archiveFlag(_ request: API.ArchiveFlagRequest, context: ServerContext) async throws
    -> API.Flag
  {
    try await changeFlag(
      try setName(request.flagSet), request.key, etag: request.etag, context
    ) {
      flag, change in
      var archived = flag
      archived.archiveTime = flag.archiveTime ?? GoogleProtobuf.Timestamp(change.time)
      return (archived, .flagArchived)
    }
  }

  package func restoreFlag(_ request: API.RestoreFlagRequest, context: ServerContext) async throws
    -> API.Flag
  {
    try await changeFlag(
      try setName(request.flagSet), request.key, etag: request.etag, context
    ) {
      [validation] flag, change in
      var restored = flag
      restored.archiveTime = nil
      // A segment it uses may be gone since.
      try validation.checkRules(
        restored, segments: await self.segments(of: restored, in: change))
      return (restored, .flagRestored)
    }
  }

  package func listFlagHistory(
    _ request: API.ListFlagHistoryRequest, context: ServerContext
  ) async throws -> API.ListFlagHistoryResponse {
    let set = try setName(request.flagSet)
    var fields = request
    fields.pageToken = ""
    fields.pageSize = 0
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: fields.encoded(),
      limits: limits.pages)
    guard let before = page.after.isEmpty ? Int64.max : Int64(page.after) else {
      throw PageRequest.foreignToken
    }
    let entries = try await read { transaction in
      _ = try await self.requireFlag(set, request.key, in: transaction)
      return try await FlagRepository.history(
        set, request.key, before: before, limit: page.size + 1, in: transaction)
    }
    var response = API.ListFlagHistoryResponse()
    (response.entries, response.nextPageToken) = page.cut(entries) { String($0.revision) }
    return response
  }

  // MARK: The way of a change

  /// Changes one flag in a transaction: finds it, checks the etag, lets the body say what it
  /// becomes, and writes state, history, audit entry and event. A flag that stays as it was is
  /// returned without a change.
  private func changeFlag(
    _ set: String, _ key: String, etag: String, etagField: String = "etag",
    _ context: ServerContext,
    _ body: @escaping @Sendable (API.Flag, Change) async throws -> (API.Flag, FlagEvent)
  ) async throws -> API.Flag {
    try await change(ChangeOrigin(context)) { change in
      let flag = try await self.requireFlag(set, key, in: change)
      try FlagService.check(etag: etag, field: etagField, against: flag.etag)
      let (changed, event) = try await body(flag, change)
      guard changed != flag else { throw Unchanged(resource: flag) }
      try self.checkEnvironments(of: changed)
      var stamped = changed
      stamped.stamp(change)
      try await FlagRepository.update(stamped, in: change)
      try await change.record(event, before: flag, after: stamped)
      return stamped
    }
  }

  /// Every environment of a set has rules of its own in memory, so their number is limited.
  private func checkEnvironments(of flag: API.Flag) throws {
    let known = book.environments(of: flag.flagSet)
    let all = known.union(flag.environments.keys)
    guard all.count <= limits.environmentsPerSet || all == known else {
      throw RPCError(
        .resourceExhausted,
        "The flags of set '\(flag.flagSet)' have states in \(known.count) environments; at most "
          + "\(limits.environmentsPerSet) are allowed in one set.")
    }
  }

  private static func kind(ofUpdate old: API.Flag, to new: API.Flag) -> FlagEvent {
    let oldTargeting = old.environments.mapValues(\.targeting).filter { $0.value != "" }
    let newTargeting = new.environments.mapValues(\.targeting).filter { $0.value != "" }
    if oldTargeting != newTargeting { return .flagTargetingUpdated }
    var toggled = old
    for (name, state) in new.environments {
      toggled.environments[name, default: API.FlagState()].enabled = state.enabled
    }
    return toggled == new ? .flagToggled : .flagUpdated
  }

  private static func archived(_ flag: API.Flag) -> RPCError {
    RPCError(
      .failedPrecondition, "Flag '\(flag.key)' is archived; restore it before changing it.",
      details: [
        .preconditionFailure([
          PreconditionViolation(
            type: "ARCHIVED", subject: "\(flag.flagSet)/\(flag.key)",
            description: "The flag is archived.")
        ])
      ])
  }
}
