package import KeelsonAPI
package import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobService {
  package func createSchedule(
    _ request: API.CreateScheduleRequest, context: ServerContext
  ) async throws -> API.Schedule {
    guard let given = request.schedule else {
      throw RPCError.invalidArgument(field: "schedule", "is required")
    }
    let (checked, cron, zone) = try self.checked(given)
    let limit = limits.schedules
    return try await mapped {
      try await database.change(ChangeOrigin(context)) { change in
        guard try await ScheduleRepository.schedule(checked.name, in: change) == nil else {
          throw RPCError(
            .alreadyExists, "There is a schedule '\(checked.name)' already.",
            details: [
              .resourceInfo(
                type: "keelson.jobs.v1.Schedule", name: checked.name, description: "")
            ])
        }
        guard try await ScheduleRepository.count(in: change) < limit else {
          throw RPCError(.resourceExhausted, "There are \(limit) schedules, the limit.")
        }
        var schedule = StoredSchedule(message: checked)
        schedule.message.createTime = .init(change.time)
        schedule.plan(after: change.time, cron, zone)
        try await change.record(.scheduleUpdated, "created", before: nil, after: &schedule)
        return schedule.message
      }
    }
  }

  package func getSchedule(
    _ request: API.GetScheduleRequest, context: ServerContext
  ) async throws -> API.Schedule {
    let name = try scheduleName(request.name)
    return try await read { transaction in
      guard let schedule = try await ScheduleRepository.schedule(name, in: transaction) else {
        throw JobEngine.noSchedule(name)
      }
      return schedule.message
    }
  }

  package func listSchedules(
    _ request: API.ListSchedulesRequest, context: ServerContext
  ) async throws -> API.ListSchedulesResponse {
    let page = try PageRequest(
      size: request.pageSize, token: request.pageToken, fields: [], limits: limits.pages)
    let schedules = try await read {
      try await ScheduleRepository.list(after: page.after, limit: page.size + 1, in: $0)
    }
    var response = API.ListSchedulesResponse()
    (response.schedules, response.nextPageToken) = page.cut(
      schedules.map(\.message), by: \.name)
    return response
  }

  package func updateSchedule(
    _ request: API.UpdateScheduleRequest, context: ServerContext
  ) async throws -> API.Schedule {
    guard let given = request.schedule else {
      throw RPCError.invalidArgument(field: "schedule", "is required")
    }
    let paths = request.updateMask?.paths ?? []
    _ = try Self.apply(paths, of: given, to: given)
    return try await changeSchedule(
      try scheduleName(given.name, field: "schedule.name"), "updated", etag: given.etag, context
    ) { [self] schedule, now in
      let (checked, cron, zone) = try checked(
        try Self.apply(paths, of: given, to: schedule.message))
      var message = schedule.message
      message.description = checked.description
      message.cron = checked.cron
      message.timeZone = checked.timeZone
      message.job = checked.job
      message.overlap = checked.overlap
      message.catchUp = checked.catchUp
      schedule.message = message
      schedule.plan(after: now, cron, zone)
    }
  }

  package func deleteSchedule(
    _ request: API.DeleteScheduleRequest, context: ServerContext
  ) async throws -> API.DeleteScheduleResponse {
    let name = try scheduleName(request.name)
    try await mapped {
      try await database.change(ChangeOrigin(context)) { change in
        guard let schedule = try await ScheduleRepository.schedule(name, in: change) else {
          throw JobEngine.noSchedule(name)
        }
        try Self.check(etag: request.etag, of: schedule)
        try await change.executeAll([ScheduleRepository.delete(name)])
        change.audit(
          AuditDraft(
            action: "schedule.deleted", entityType: "schedule", entityID: name,
            before: JSONText(schedule.message.json)))
        change.emit(
          EventDraft(type: JobEvent.scheduleDeleted.rawValue, subject: name))
      }
    }
    return API.DeleteScheduleResponse()
  }

  package func pauseSchedule(
    _ request: API.PauseScheduleRequest, context: ServerContext
  ) async throws -> API.Schedule {
    try await changeSchedule(try scheduleName(request.name), "paused", context) {
      schedule, _ in
      schedule.message.paused = true
      schedule.message.nextRunTime = nil
    }
  }

  package func resumeSchedule(
    _ request: API.ResumeScheduleRequest, context: ServerContext
  ) async throws -> API.Schedule {
    try await changeSchedule(try scheduleName(request.name), "resumed", context) {
      [self] schedule, now in
      guard schedule.message.paused else { return }
      schedule.message.paused = false
      let (_, cron, zone) = try checked(schedule.message)
      schedule.plan(after: now, cron, zone)
    }
  }

  package func triggerSchedule(
    _ request: API.TriggerScheduleRequest, context: ServerContext
  ) async throws -> API.Job {
    let name = try scheduleName(request.name)
    return try await mapped {
      try await engine.trigger(name, origin: ChangeOrigin(context)).message
    }
  }

  package func previewSchedule(
    _ request: API.PreviewScheduleRequest, context: ServerContext
  ) async throws -> API.PreviewScheduleResponse {
    guard (0...1_000).contains(request.count) else {
      throw RPCError.invalidArgument(field: "count", "\(request.count) is not from 0 to 1000")
    }
    guard request.cron.isEmpty != request.name.isEmpty else {
      throw RPCError.invalidArgument(field: "cron", "is required, or 'name' in its place")
    }
    var (cron, zone) = (request.cron, request.timeZone)
    if !request.name.isEmpty {
      let name = try scheduleName(request.name)
      let schedule = try await read { try await ScheduleRepository.schedule(name, in: $0) }
      guard let schedule else { throw JobEngine.noSchedule(name) }
      (cron, zone) = (schedule.message.cron, schedule.message.timeZone)
    }
    let expression = try self.expression(cron, field: "cron")
    let rules = try zones.zone(zone, field: "time_zone")
    var time = try request.after?.unixTime ?? .now
    var response = API.PreviewScheduleResponse()
    let count = request.count == 0 ? 10 : Int(request.count)
    while response.times.count < count, let next = expression.next(after: time, in: rules) {
      response.times.append(.init(next))
      time = next
    }
    return response
  }

  // MARK: The way of a change

  private func changeSchedule(
    _ name: String, _ action: String, etag: String = "", _ context: ServerContext,
    _ body: @escaping @Sendable (inout StoredSchedule, UnixTime) throws -> Void
  ) async throws -> API.Schedule {
    do {
      return try await mapped {
        try await database.change(ChangeOrigin(context)) { change in
          guard var schedule = try await ScheduleRepository.schedule(name, in: change) else {
            throw JobEngine.noSchedule(name)
          }
          try Self.check(etag: etag, of: schedule)
          let before = schedule
          try body(&schedule, change.time)
          guard schedule.message != before.message else {
            throw UnchangedSchedule(message: schedule.message)
          }
          try await change.record(.scheduleUpdated, action, before: before, after: &schedule)
          return schedule.message
        }
      }
    } catch let unchanged as UnchangedSchedule {
      return unchanged.message
    }
  }

  private struct UnchangedSchedule: Error {
    var message: API.Schedule
  }

  private static func check(etag: String, of schedule: StoredSchedule) throws {
    guard etag.isEmpty || etag == schedule.message.etag else {
      throw RPCError(
        .aborted,
        "etag: '\(etag.prefix(64))' is not the current etag '\(schedule.message.etag)': it was "
          + "changed in between. Get it again and repeat the change.")
    }
  }

  private func scheduleName(_ name: String, field: String = "name") throws -> String {
    if let problem = validation.nameProblem(name) {
      throw RPCError.invalidArgument(field: field, problem)
    }
    return name
  }

  private func expression(_ text: String, field: String) throws -> CronExpression {
    do {
      return try CronExpression(text)
    } catch {
      throw RPCError(
        .invalidArgument, "\(field): \(error)",
        details: [
          .badRequest(error.problems.map { FieldViolation(field: field, description: "\($0)") })
        ])
    }
  }

  /// Checks a schedule as a whole, and leaves out what callers cannot set.
  private func checked(
    _ given: API.Schedule
  ) throws -> (API.Schedule, CronExpression, TimeZoneRules) {
    var schedule = API.Schedule()
    schedule.name = try scheduleName(given.name, field: "schedule.name")
    guard given.description.utf8.count <= limits.descriptionBytes else {
      throw RPCError.invalidArgument(
        field: "schedule.description",
        "has \(given.description.utf8.count) bytes; at most \(limits.descriptionBytes) are allowed")
    }
    guard !given.description.utf8.contains(0) else {
      throw RPCError.invalidArgument(field: "schedule.description", "has a NUL character")
    }
    schedule.description = given.description
    schedule.cron = given.cron
    let cron = try expression(given.cron, field: "schedule.cron")
    schedule.timeZone = given.timeZone
    let zone = try zones.zone(given.timeZone, field: "schedule.time_zone")
    guard let job = given.job else {
      throw RPCError.invalidArgument(field: "schedule.job", "is required")
    }
    guard job.uniqueKey == nil else {
      throw RPCError.invalidArgument(
        field: "schedule.job.unique_key", "is not for schedules; see 'overlap'")
    }
    schedule.job = try validation.checked(job, field: "schedule.job")
    guard (0...3).contains(given.overlap.rawValue) else {
      throw RPCError.invalidArgument(
        field: "schedule.overlap", "\(given.overlap.rawValue) is no overlap policy")
    }
    schedule.overlap = given.overlap == .unspecified ? .allow : given.overlap
    if let catchUp = given.catchUp, !(0...100).contains(catchUp) {
      throw RPCError.invalidArgument(
        field: "schedule.catch_up", "\(catchUp) is not from 0 to 100")
    }
    schedule.catchUp = given.catchUp ?? 1
    schedule.paused = given.paused
    return (schedule, cron, zone)
  }

  private static func apply(
    _ paths: [String], of given: API.Schedule, to schedule: API.Schedule
  ) throws -> API.Schedule {
    guard !paths.isEmpty else {
      var all = given
      all.paused = schedule.paused
      return all
    }
    var schedule = schedule
    for path in paths {
      switch path {
      case "description": schedule.description = given.description
      case "cron": schedule.cron = given.cron
      case "time_zone": schedule.timeZone = given.timeZone
      case "job": schedule.job = given.job
      case "overlap": schedule.overlap = given.overlap
      case "catch_up": schedule.catchUp = given.catchUp
      default:
        throw RPCError.invalidArgument(
          field: "update_mask", "'\(path)' is no field of a schedule that can be updated")
      }
    }
    return schedule
  }
}

extension Change {
  /// Writes a schedule with its audit entry and its event.
  func record(
    _ event: JobEvent, _ action: String, before: StoredSchedule?, after: inout StoredSchedule
  ) async throws {
    after.message.updateTime = .init(time)
    after.message.etag = String(revision)
    try await executeAll([ScheduleRepository.put(after)])
    audit(
      AuditDraft(
        action: "schedule.\(action)", entityType: "schedule", entityID: after.name,
        before: before.map { JSONText($0.message.json) }, after: JSONText(after.message.json)))
    emit(
      EventDraft(
        type: event.rawValue, subject: after.name, data: JSONText(after.message.json)))
  }
}
