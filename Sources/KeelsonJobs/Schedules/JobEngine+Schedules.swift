import KeelsonAPI
import KeelsonCore
import KeelsonJobRules
import KeelsonStore

extension JobEngine {
  /// Schedules that one transaction runs at most.
  private static let schedulesPerRound = 100

  /// Creates the jobs of the schedules that are due, each with its schedule's new state: so each
  /// run is created once, whichever server does it.
  ///
  /// - Returns: whether there may be more.
  func runSchedules(_ zones: TimeZoneDatabase) async throws -> Bool {
    let dialect = database.dialect
    let isDue = try await database.read { transaction in
      let now = try await ChangeHead.current(in: transaction, dialect).nextTime
      return try await !ScheduleRepository.due(at: now, limit: 1, in: transaction).isEmpty
    }
    guard isDue else { return false }
    do {
      return try await database.change(.system()) { change in
        let due = try await ScheduleRepository.due(
          at: change.time, limit: Self.schedulesPerRound, in: change)
        var created: [StoredJob] = []
        var moved = Moved()
        var counts = JobCounts()
        var statements: [SQLStatement] = []
        for var schedule in due {
          let runs: [UnixTime]
          (schedule, runs) = times(of: schedule, at: change.time, zones)
          // Each would call the one before off.
          let last = schedule.message.overlap == .replace ? runs.suffix(1) : runs[...]
          schedule.message.skippedRuns += Int64(runs.count - last.count)
          for run in last {
            let job = self.job(of: schedule, at: run, now: change.time)
            let freed = try await isReplacedWaiting(by: schedule, moved, in: change) ? 1 : 0
            guard try await hasRoom(for: job, beside: created, freed: freed, in: change),
              try await makeRoom(for: &schedule, created, &moved, &counts, in: change)
            else {
              schedule.message.skippedRuns += 1
              continue
            }
            schedule.message.lastJobId = job.id.text
            counts.add(1, to: job.lifecycle.state, queue: job.queue, kind: job.kind)
            created.append(job)
          }
          statements.append(ScheduleRepository.put(schedule))
          change.audit(
            AuditDraft(
              action: "schedule.run", entityType: "schedule", entityID: schedule.name,
              attributes: JSONText(
                .object([
                  "runs": .number(Double(runs.count)),
                  "job": .string(schedule.message.lastJobId),
                ]))))
        }
        guard !due.isEmpty else { throw NothingDue() }
        try await change.executeAll(
          statements + JobRepository.insertions(of: created, database.dialect)
            + moved.jobs.map(JobRepository.update)
            + moved.attempts + counts.statements)
        if created.isEmpty {
          change.emit(
            EventDraft(
              type: JobEvent.scheduleSkipped.rawValue, subject: "",
              data: JSONText(
                .object(["schedules": .array(due.map { .string($0.name) })]))))
        } else {
          change.emit(.scheduled, created.map { JobNews($0) })
        }
        moved.emit(in: change)
        return due.count == Self.schedulesPerRound
      }
    } catch is NothingDue {
      return false
    }
  }

  /// Thrown out of a change that another server has made meanwhile.
  private struct NothingDue: Error {}

  /// The runs that are due, and the schedule as it stands then.
  private func times(
    of schedule: StoredSchedule, at now: UnixTime, _ zones: TimeZoneDatabase
  ) -> (StoredSchedule, [UnixTime]) {
    var schedule = schedule
    do {
      let cron = try CronExpression(schedule.message.cron)
      let zone = try zones.zone(schedule.message.timeZone, field: "time_zone")
      let runs = schedule.dueTimes(at: now, cron, zone)
      if let due = runs.last { schedule.message.lastRunTime = .init(due) }
      schedule.plan(after: now, cron, zone)
      return (schedule, runs)
    } catch {
      // It was checked when it was written: the zone's file is gone, or another version wrote it.
      logger.log(
        .error, "A schedule cannot be run; it is paused.",
        ["schedule": schedule.name, "error": "\(error)"])
      schedule.message.paused = true
      schedule.message.nextRunTime = nil
      return (schedule, [])
    }
  }

  /// Jobs that one round creates at most.
  private static let jobsPerRound = 1_000

  /// Whether the job that would be called off waits, so that its place in the queue becomes free.
  private func isReplacedWaiting(
    by schedule: StoredSchedule, _ moved: Moved, in change: Change
  ) async throws -> Bool {
    guard schedule.message.overlap == .replace, let id = schedule.lastJobID,
      let job = try await moved.job(id, in: change)
    else { return false }
    let queue = schedule.message.job?.queue
    return job.queue == queue
      && (job.lifecycle.state == .scheduled || job.lifecycle.state == .pending)
  }

  /// Whether a job's queue takes one more.
  ///
  /// - Parameter freed: places that are given up for it.
  private func hasRoom(
    for job: StoredJob, beside created: [StoredJob], freed: Int, in change: Change
  ) async throws -> Bool {
    guard created.count < Self.jobsPerRound else { return false }
    let taken = created.count { $0.queue == job.queue } - freed
    guard try await depthLeft(of: job.queue, in: change).left > Int64(taken) else {
      logger.log(
        .warning, "A schedule was due, and its queue is full.",
        ["schedule": job.schedule, "queue": job.queue])
      return false
    }
    return true
  }

  /// What the overlap policy says about a run.
  ///
  /// - Returns: whether it may be created.
  private func makeRoom(
    for schedule: inout StoredSchedule, _ created: [StoredJob], _ moved: inout Moved,
    _ counts: inout JobCounts, in change: Change
  ) async throws -> Bool {
    let policy = schedule.message.overlap
    guard policy == .skip || policy == .replace, let id = schedule.lastJobID else { return true }
    // One of this very round has not ended, and there is no row of it yet.
    if created.contains(where: { $0.id == id }) { return false }
    guard var job = try await moved.job(id, in: change), !job.lifecycle.state.hasEnded else {
      return true
    }
    guard policy == .replace else { return false }
    let before = job
    let grace = limits.defaultGrace
    try job.move(at: change.time) { life throws(JobLifecycle.Refusal) in
      try life.cancel(grace: grace, now: change.time)
    }
    counts.move(job, from: before.lifecycle.state)
    moved.add(job, before: before, outcome: nil, error: "", at: change.time)
    return true
  }

  private func job(of schedule: StoredSchedule, at run: UnixTime, now: UnixTime) -> StoredJob {
    var job = schedule.message.job ?? .init()
    job.schedule = schedule.name
    job.creator = "system"
    return StoredJob(new: job, id: .make(at: now), runTime: run, now: now)
  }

  /// Creates the job of a schedule by hand.
  func trigger(_ name: String, origin: ChangeOrigin) async throws -> StoredJob {
    try await database.change(origin) { change in
      guard var schedule = try await ScheduleRepository.schedule(name, in: change) else {
        throw Self.noSchedule(name)
      }
      let job = self.job(of: schedule, at: change.time, now: change.time)
      try await checkDepth(of: [job], in: change)
      schedule.message.lastJobId = job.id.text
      var counts = JobCounts()
      counts.add(1, to: job.lifecycle.state, queue: job.queue, kind: job.kind)
      try await change.executeAll(
        [ScheduleRepository.put(schedule)] + JobRepository.insertions(of: [job], database.dialect)
          + counts.statements)
      change.audit(
        AuditDraft(
          action: "schedule.triggered", entityType: "schedule", entityID: name,
          attributes: JSONText(.object(["job": .string(job.id.text)]))))
      change.emit(.scheduled, [JobNews(job)])
      return job
    }
  }

  static func noSchedule(_ name: String) -> RPCError {
    RPCError(
      .notFound, "There is no schedule '\(name)'.",
      details: [.resourceInfo(type: "keelson.jobs.v1.Schedule", name: name, description: "")])
  }
}
