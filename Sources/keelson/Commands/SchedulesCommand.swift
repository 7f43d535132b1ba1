import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson schedules`: the commands about jobs that are created again and again.
enum SchedulesCommand {
  static let command = Command(
    name: "schedules", summary: "Create jobs by cron expressions",
    subcommands: [create, list, get, update, delete, pause, resume, trigger, preview])

  private static let name = Command.Argument(name: "NAME", help: "The schedule's name.")

  private static let definition: [Command.Option] = [
    .init(
      name: "zone", value: "ZONE", help: "The time zone, Europe/Riga for example.",
      defaultValue: "UTC"),
    .init(name: "description", value: "TEXT", help: "What it is for."),
    .init(
      name: "overlap", value: "POLICY", help: "When its job before has not ended.",
      defaultValue: "allow", choices: ["allow", "skip", "replace"]),
    .init(
      name: "catch-up", value: "N",
      help: "How many of the runs are made up for that were missed while no server ran.",
      defaultValue: "1"),
  ]

  private static func schedule(_ invocation: Invocation) throws -> KeelsonJobsV1.Schedule {
    var schedule = KeelsonJobsV1.Schedule()
    schedule.name = invocation.argument("NAME")
    schedule.timeZone = invocation.option("zone") ?? ""
    schedule.description = invocation.option("description") ?? ""
    schedule.overlap =
      switch invocation.option("overlap") {
      case "skip": .skip
      case "replace": .replace
      default: .allow
      }
    schedule.catchUp = try invocation.integer("catch-up", as: Int32.self)
    return schedule
  }

  private static let create = Command(
    name: "create", summary: "Create a schedule",
    discussion: """
      CRON is minute, hour, day of month, month and day of week, with seconds in front or without, \
      or @hourly, @daily, @weekly, @monthly, @yearly. 'keelson schedules preview' shows its times.
      """,
    arguments: [
      name, .init(name: "CRON", help: "When, '0 3 * * MON' for example."),
      .init(name: "KIND", help: "The kind of the jobs it creates."),
    ],
    options: definition + JobOptions.definition
      + [.init(name: "paused", help: "Do not begin yet.")] + Session.options
  ) { invocation in
    var schedule = try schedule(invocation)
    schedule.cron = invocation.argument("CRON")
    schedule.job = try JobOptions.job(invocation.argument("KIND"), invocation)
    schedule.paused = invocation.has("paused")
    try await Session.run(invocation) { [schedule] session in
      var request = KeelsonJobsV1.CreateScheduleRequest()
      request.schedule = schedule
      let made = try await session.client.jobs.service.createSchedule(request)
      try session.output.print(made) { made.sheet }
    }
  }

  private static let update = Command(
    name: "update", summary: "Change a schedule", arguments: [name],
    options: [.init(name: "cron", value: "CRON", help: "When.")] + definition
      + [FlagOptions.etag] + Session.options
  ) { invocation in
    var given = try schedule(invocation)
    given.cron = invocation.option("cron") ?? ""
    given.etag = invocation.option("etag") ?? ""
    var request = KeelsonJobsV1.UpdateScheduleRequest()
    let fields = [
      ("cron", "cron"), ("zone", "time_zone"), ("description", "description"),
      ("overlap", "overlap"), ("catch-up", "catch_up"),
    ].filter { invocation.given.contains($0.0) }.map(\.1)
    guard !fields.isEmpty else {
      throw UsageError("Nothing to change: give --cron, --zone or another option.")
    }
    request.schedule = given
    request.updateMask = .init(paths: fields)
    try await Session.run(invocation) { [request] session in
      let changed = try await session.client.jobs.service.updateSchedule(request)
      try session.output.print(changed) { changed.sheet }
    }
  }

  private static let list = Command(
    name: "list", summary: "List the schedules, by name", options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonJobsV1.ListSchedulesRequest()
      var all = KeelsonJobsV1.ListSchedulesResponse()
      repeat {
        let page = try await session.client.jobs.service.listSchedules(request)
        all.schedules += page.schedules
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(all) { [all] in all.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show one schedule", arguments: [name], options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let schedule = try await session.client.jobs.service.getSchedule(
        .init(name: invocation.argument("NAME")))
      try session.output.print(schedule) { schedule.sheet }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Delete a schedule; its jobs stay", arguments: [name],
    options: [FlagOptions.etag] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let name = invocation.argument("NAME")
      let answer = try await session.client.jobs.service.deleteSchedule(
        .init(name: name, etag: invocation.option("etag") ?? ""))
      try session.output.print(answer) { "Deleted schedule '\(name)'." }
    }
  }

  private static let pause = Command(
    name: "pause", summary: "Let a schedule create no more jobs", arguments: [name],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let schedule = try await session.client.jobs.service.pauseSchedule(
        .init(name: invocation.argument("NAME")))
      try session.output.print(schedule) { schedule.sheet }
    }
  }

  private static let resume = Command(
    name: "resume", summary: "Let a schedule create jobs again, from now on", arguments: [name],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let schedule = try await session.client.jobs.service.resumeSchedule(
        .init(name: invocation.argument("NAME")))
      try session.output.print(schedule) { schedule.sheet }
    }
  }

  private static let trigger = Command(
    name: "trigger", summary: "Create a schedule's job now", arguments: [name],
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let job = try await session.client.jobs.service.triggerSchedule(
        .init(name: invocation.argument("NAME")))
      try session.output.print(job) { job.sheet }
    }
  }

  private static let preview = Command(
    name: "preview", summary: "Show when a cron expression runs",
    arguments: [.init(name: "CRON", help: "When, '0 3 * * MON' for example.")],
    options: [
      .init(
        name: "zone", value: "ZONE", help: "The time zone, Europe/Riga for example.",
        defaultValue: "UTC"),
      .init(name: "count", value: "N", help: "How many times.", defaultValue: "10"),
      .init(name: "after", value: "TIME", help: "After this time; now when not given."),
    ] + Session.options
  ) { invocation in
    var request = KeelsonJobsV1.PreviewScheduleRequest()
    request.cron = invocation.argument("CRON")
    request.timeZone = invocation.option("zone") ?? ""
    request.count = try invocation.integer("count") ?? 0
    request.after = try FlagOptions.time("after", invocation)
    try await Session.run(invocation) { [request] session in
      let answer = try await session.client.jobs.service.previewSchedule(request)
      try session.output.print(answer) {
        answer.times.isEmpty
          ? "It never runs." : answer.times.map { Optional($0).text }.joined(separator: "\n")
      }
    }
  }
}
