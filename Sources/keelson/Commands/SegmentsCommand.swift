import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson segments`: named conditions that targeting can use.
enum SegmentsCommand {
  static let command = Command(
    name: "segments", summary: "Manage segments, the named conditions that targeting uses",
    subcommands: [create, get, list, update, delete])

  private static let key = Command.Argument(name: "KEY", help: "The segment's key.")
  private static let definition: [Command.Option] = [
    .init(name: "description", value: "TEXT", help: "What it is for."),
    .init(
      name: "condition", value: "JSON|@FILE",
      help: "The condition in flagd's targeting JSON, or a file that holds it."),
  ]

  private static let create = Command(
    name: "create", summary: "Create a segment", arguments: [key],
    options: definition + [FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let created = try await session.client.admin.flags.createSegment(
        .init(segment: try segment(invocation)))
      try session.output.print(created) { created.sheet }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show a segment", arguments: [key],
    options: [FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let segment = try await session.client.admin.flags.getSegment(
        .init(flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY")))
      try session.output.print(segment) { segment.sheet }
    }
  }

  private static let list = Command(
    name: "list", summary: "List segments",
    options: [FlagOptions.pageSize, FlagOptions.pageToken, FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonFlagsV1.ListSegmentsRequest(
        flagSet: invocation.option("flag-set") ?? "",
        pageSize: try invocation.integer("page-size") ?? 1_000,
        pageToken: invocation.option("page-token") ?? "")
      var answer = KeelsonFlagsV1.ListSegmentsResponse()
      repeat {
        let page = try await session.client.admin.flags.listSegments(request)
        answer.segments += page.segments
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  private static let update = Command(
    name: "update", summary: "Change a segment; flags that use it follow at once",
    arguments: [key],
    options: definition + [FlagOptions.etag, FlagOptions.flagSet] + Session.options
  ) { invocation in
    let paths = ["description", "condition"].filter { invocation.has($0) }
    guard !paths.isEmpty else {
      throw UsageError("Name what to change: --description or --condition.")
    }
    try await Session.run(invocation) { session in
      let updated = try await session.client.admin.flags.updateSegment(
        .init(segment: try segment(invocation), updateMask: .init(paths: paths)))
      try session.output.print(updated) { updated.sheet }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Delete a segment that no flag uses", arguments: [key],
    options: [FlagOptions.etag, FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.flags.deleteSegment(
        .init(
          flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
          etag: invocation.option("etag") ?? ""))
      try session.output.print(answer) { "Deleted segment \(invocation.argument("KEY"))." }
    }
  }

  private static func segment(_ invocation: Invocation) throws -> KeelsonFlagsV1.Segment {
    KeelsonFlagsV1.Segment(
      flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
      description: invocation.option("description") ?? "",
      condition: try FlagOptions.rules("condition", invocation) ?? "",
      etag: invocation.option("etag") ?? "")
  }
}
