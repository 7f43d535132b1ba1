import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson cache warm-sets`: entries that are loaded into the cache together.
enum WarmSetsCommand {
  static let command = Command(
    name: "warm-sets", summary: "Define entries that are loaded together, and load them",
    subcommands: [create, list, get, update, start, watch, cancel, runs, delete])

  private static let name = Command.Argument(name: "NAME", help: "The warm set's name.")
  private static let runOption = Command.Option(
    name: "run", value: "ID", help: "Which of its runs; the newest when not given.")

  private static let create = Command(
    name: "create", summary: "Define a warm set from a JSON file",
    discussion: """
      The file: {"description": "...", "on_start": true, "concurrency": 8, "entries": [{"key": \
      "acme:shop:price:1", "value": {"any": "JSON"}, "tags": ["prices"], "ttl": "1h", \
      "stale_for": "1d"}, ...]}. In place of "value": "text", stored as it is, or "url", of an \
      origin that the server may call.
      """,
    arguments: [name, .init(name: "FILE", help: "The file.")], options: Session.options
  ) { invocation in
    let set = try WarmSetFile(path: invocation.argument("FILE"))
      .warmSet(name: invocation.argument("NAME"))
    try await Session.run(invocation) { session in
      let made = try await session.client.cache.service.createWarmSet(.init(warmSet: set))
      try session.output.print(made) { made.sheet }
    }
  }

  private static let update = Command(
    name: "update", summary: "Change what is named, and nothing else",
    arguments: [name],
    options: [
      .init(
        name: "file", value: "FILE",
        help: "A file as for create: what it has is changed, and what it has not is left."),
      .init(name: "description", value: "TEXT", help: "What it is for."),
      .init(
        name: "on-start", value: "BOOL", help: "Whether it is loaded whenever a server starts.",
        choices: ["true", "false"]),
      .init(name: "concurrency", value: "N", help: "How many are loaded at a time: 1 to 64."),
      FlagOptions.etag,
    ] + Session.options
  ) { invocation in
    var set = KeelsonCacheV1.WarmSet(name: invocation.argument("NAME"))
    var paths: Set<String> = []
    if let file = invocation.option("file") {
      (set, paths) = try WarmSetFile(path: file).change(name: set.name)
    }
    if let description = invocation.option("description") {
      set.description = description
      paths.insert("description")
    }
    if let onStart = invocation.option("on-start") {
      set.onStart = onStart == "true"
      paths.insert("on_start")
    }
    if let concurrency: Int32 = try invocation.integer("concurrency") {
      set.concurrency = concurrency
      paths.insert("concurrency")
    }
    guard !paths.isEmpty else {
      throw UsageError(
        "Name what to change: --file, --description, --on-start or --concurrency.")
    }
    set.etag = invocation.option("etag") ?? ""
    let request = KeelsonCacheV1.UpdateWarmSetRequest(
      warmSet: set, updateMask: .init(paths: paths.sorted()))
    try await Session.run(invocation) { session in
      let changed = try await session.client.cache.service.updateWarmSet(request)
      try session.output.print(changed) { changed.sheet }
    }
  }

  private static let list = Command(
    name: "list", summary: "List the warm sets", options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonCacheV1.ListWarmSetsRequest()
      var all = KeelsonCacheV1.ListWarmSetsResponse()
      repeat {
        let page = try await session.client.cache.service.listWarmSets(request)
        all.warmSets += page.warmSets
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(all) { [all] in all.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show one warm set", arguments: [name], options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let set = try await session.client.cache.service.getWarmSet(
        .init(name: invocation.argument("NAME")))
      try session.output.print(set) { set.sheet }
    }
  }

  private static let start = Command(
    name: "start", summary: "Load a warm set, and show how far it is",
    discussion: "One that is being loaded is followed. Loading goes on when this is ended.",
    arguments: [name],
    options: [.init(name: "no-wait", help: "Do not wait for its end.")] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let name = invocation.argument("NAME")
      let run = try await session.client.cache.service.startWarmSet(.init(name: name))
      guard !invocation.has("no-wait") else {
        return try session.output.print(run) { run.text }
      }
      try await follow(name, run.id, session)
    }
  }

  private static let watch = Command(
    name: "watch", summary: "Show how far the loading of a warm set is, until its end",
    arguments: [name], options: [runOption] + Session.streamOptions
  ) { invocation in
    try await Session.run(invocation) { session in
      try await follow(
        invocation.argument("NAME"), invocation.option("run") ?? "", session)
    }
  }

  /// Shows a run until its end; one that has not completed is a failure.
  private static func follow(
    _ name: String, _ id: String, _ session: Session
  ) async throws {
    var progress = Progress(isShown: true)
    defer { progress.finish() }
    var last: KeelsonCacheV1.WarmSetRun?
    let runs = session.client.cache.service.watchWarmSet(.init(name: name, runId: id))
    for try await run in runs {
      progress.show(
        done: Int64(run.loaded) + Int64(run.failed), of: Int64(run.total), run.line,
        hasBar: true)
      last = run
    }
    progress.finish()
    guard let last else {
      throw RPCError(.aborted, "Nothing was heard of warm set '\(name)'.")
    }
    try session.output.print(last) { last.text }
    switch last.state {
    case .completed: return
    case .cancelled: throw RPCError(.cancelled, "Loading warm set '\(name)' was cancelled.")
    case .lost:
      throw RPCError(
        .aborted, "The server that loaded warm set '\(name)' was not heard of any more.")
    default:
      throw RPCError(.aborted, "\(last.failed) entries of warm set '\(name)' were not loaded.")
    }
  }

  private static let cancel = Command(
    name: "cancel", summary: "End the loading of a warm set; what is loaded stays",
    arguments: [name], options: [runOption] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let run = try await session.client.cache.service.cancelWarmSet(
        .init(name: invocation.argument("NAME"), runId: invocation.option("run") ?? ""))
      try session.output.print(run) { run.text }
    }
  }

  private static let runs = Command(
    name: "runs", summary: "List the runs of a warm set, or of all, the newest first",
    arguments: [
      .init(
        name: "NAME", help: "The warm set's name; of all sets when not given.", isOptional: true)
    ], options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonCacheV1.ListWarmSetRunsRequest()
      request.name = invocation.arguments["NAME"] ?? ""
      var all = KeelsonCacheV1.ListWarmSetRunsResponse()
      repeat {
        let page = try await session.client.cache.service.listWarmSetRuns(request)
        all.runs += page.runs
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(all) { [all] in all.table }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Delete a warm set; what it has loaded stays", arguments: [name],
    options: [FlagOptions.etag] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let name = invocation.argument("NAME")
      let answer = try await session.client.cache.service.deleteWarmSet(
        .init(name: name, etag: invocation.option("etag") ?? ""))
      try session.output.print(answer) { "Deleted warm set '\(name)'." }
    }
  }
}
