import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson events`: the commands that read events and say how long they are kept.
enum EventsCommand {
  static let command = Command(
    name: "events", summary: "Follow and find what happens; how long that is kept",
    subcommands: [tail, list, get, types, retention])

  private static let typesOption = Command.Option(
    name: "types", value: "TYPE[,TYPE]",
    help: "Only these types: names, or beginnings with a '*' ('keelson.flags.*').",
    isRepeatable: true)

  private static let tail = Command(
    name: "tail", summary: "Show events as they happen, until Ctrl-C",
    discussion: """
      Goes on by itself when the connection or the server is lost, without loss or repetition. \
      With --output json each line is one event in the JSON form of CloudEvents.
      """,
    options: [
      typesOption,
      .init(
        name: "subject", value: "TEXT",
        help: "Only about this, or what begins so before a '*'.", isRepeatable: true),
      .init(
        name: "since-revision", value: "N", help: "Begin with the event after this revision."),
      .init(name: "from-oldest", help: "Begin with the oldest event that is kept."),
      .init(name: "telemetry", help: "Telemetry too: happenings that are not kept."),
    ] + Session.options
  ) { invocation in
    guard !(invocation.has("since-revision") && invocation.has("from-oldest")) else {
      throw UsageError("--since-revision and --from-oldest cannot both be meant.")
    }
    var start = Events.Start.now
    if invocation.has("from-oldest") { start = .oldest }
    if let revision = try invocation.integer("since-revision", as: Int64.self) {
      start = .after(revision)
    }
    let classes: Set<Event.Class> =
      invocation.has("telemetry") ? [.durable, .telemetry] : [.durable]
    try await Session.run(invocation) { [start] session in
      try await session.untilInterrupted {
        try await session.requireServer()
        let events = session.client.events.subscribe(
          types: types(invocation), subjects: invocation.all("subject"), classes: classes,
          from: start)
        for try await event in events {
          if event.droppedBefore > 0 {
            Output.note("\(event.droppedBefore) telemetry events were left out here.")
          }
          try session.output.print(event.json) { event.line }
        }
      }
    }
  }

  private static let list = Command(
    name: "list", summary: "List events that are kept, newest first",
    options: [
      typesOption,
      .init(
        name: "subject", value: "TEXT", help: "Only about this, or what begins so before a '*'."),
      .init(name: "actor", value: "NAME", help: "Only by this actor."),
      .init(name: "correlation-id", value: "ID", help: "Only of this call."),
      .init(
        name: "from", value: "TIME",
        help: "Only at or after this time, 2027-01-31T00:00:00Z for example."),
      .init(name: "to", value: "TIME", help: "Only before this time."),
      .init(name: "oldest-first", help: "Oldest first."),
      .init(
        name: "page-size", value: "N", help: "Show at most N.", defaultValue: "100"),
      FlagOptions.pageToken,
    ] + Session.options
  ) { invocation in
    let query = EventQuery(
      types: types(invocation), subject: invocation.option("subject") ?? "",
      actor: invocation.option("actor") ?? "",
      correlationID: invocation.option("correlation-id") ?? "",
      from: try FlagOptions.time("from", invocation)?.unixTime,
      to: try FlagOptions.time("to", invocation)?.unixTime,
      isOldestFirst: invocation.has("oldest-first"),
      pageSize: try invocation.integer("page-size") ?? 0)
    try await Session.run(invocation) { session in
      let page = try await session.client.events.list(
        query, page: invocation.option("page-token"))
      try session.output.print(page.json) { page.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show one event",
    arguments: [.init(name: "REVISION", help: "The event's number.")], options: Session.options
  ) { invocation in
    let text = invocation.argument("REVISION")
    guard let revision = Int64(text) else {
      throw UsageError("REVISION is a whole number, not '\(text)'.")
    }
    try await Session.run(invocation) { session in
      let event = try await session.client.events.get(revision)
      try session.output.print(event.json) { event.sheet }
    }
  }

  private static let types = Command(
    name: "types", summary: "List every type of event", options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.events.listEventTypes(.init())
      try session.output.print(answer) { answer.table }
    }
  }

  // MARK: Retention

  private static let retention = Command(
    name: "retention", summary: "Show or change how long events are kept",
    subcommands: [getRetention, setRetention])

  private static let getRetention = Command(
    name: "get", summary: "Show how long events are kept", options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let policy = try await session.client.admin.events.getRetentionPolicy(.init())
      try session.output.print(policy) { policy.sheet }
    }
  }

  private static let setRetention = Command(
    name: "set", summary: "Change how long events are kept",
    discussion: "Events that are not kept any more are removed soon, for good.",
    options: [
      .init(
        name: "max-age", value: "TIME",
        help: "Remove what is older: 30d, 12h or 90m for example; none: whatever its age."),
      .init(
        name: "max-count", value: "N", help: "Keep at most the newest N; none: however many."),
      FlagOptions.etag,
    ] + Session.options
  ) { invocation in
    var policy = KeelsonEventsV1.RetentionPolicy(etag: invocation.option("etag") ?? "")
    var paths: [String] = []
    if let text = invocation.option("max-age") {
      paths.append("max_age")
      policy.maxAge = text == "none" ? nil : .init(try duration(text))
    }
    if let text = invocation.option("max-count") {
      guard let count = text == "none" ? 0 : Int64(text) else {
        throw UsageError("--max-count takes a whole number or none, not '\(text)'.")
      }
      paths.append("max_count")
      policy.maxCount = count
    }
    guard !paths.isEmpty else { throw UsageError("Say --max-age, --max-count or both.") }
    try await Session.run(invocation) { [policy, paths] session in
      let updated = try await session.client.admin.events.updateRetentionPolicy(
        .init(policy: policy, updateMask: .init(paths: paths)))
      try session.output.print(updated) { updated.sheet }
    }
  }

  private static func duration(_ text: String) throws -> Duration {
    let units: [Character: Int64] = ["d": 86_400, "h": 3_600, "m": 60, "s": 1]
    guard let unit = text.last.flatMap({ units[$0] }), let number = Int64(text.dropLast()),
      (0...3_153_600_000).contains(number)
    else {
      throw UsageError("--max-age takes a time such as 30d, 12h or 90m, or none, not '\(text)'.")
    }
    return .seconds(number * unit)
  }

  private static func types(_ invocation: Invocation) -> [String] {
    invocation.all("types").flatMap { $0.split(separator: ",").map(String.init) }
  }
}
