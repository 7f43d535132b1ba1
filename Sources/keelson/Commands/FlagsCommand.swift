import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson flags`: the commands that read and change flags.
enum FlagsCommand {
  static let command = Command(
    name: "flags", summary: "Create, change, evaluate and watch feature flags",
    subcommands: [
      create, get, list, update, toggle, archive, restore, history, evaluate, watch,
    ])

  private static let key = Command.Argument(name: "KEY", help: "The flag's key.")

  private static let create = Command(
    name: "create", summary: "Create a flag",
    discussion: """
      A boolean flag needs nothing but its key: it gets the variants on and off. With --enabled,
      --default-variant or --targeting it also gets a state in the environment.
      """,
    arguments: [key],
    options: [
      .init(
        name: "type", value: "TYPE",
        help: "The type of its variants; taken from them if not given.",
        choices: ["boolean", "string", "number", "object"])
    ] + FlagOptions.definition + [
      .init(name: "enabled", help: "Enable it in the environment."),
      FlagOptions.environment, FlagOptions.flagSet,
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var flag = try definition(invocation)
      flag.type =
        switch invocation.option("type") {
        case "boolean": .boolean
        case "string": .string
        case "number": .number
        case "object": .object
        default: .unspecified
        }
      var state = try state(invocation)
      if state.enabled, state.defaultVariant.isEmpty, flag.variants.isEmpty {
        // The variants that the server will make.
        state.defaultVariant = "on"
      }
      if state != KeelsonFlagsV1.FlagState() {
        flag.environments[try await session.environment(invocation)] = state
      }
      let created = try await session.client.admin.flags.createFlag(.init(flag: flag))
      try session.output.print(created) { created.sheet }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show a flag", arguments: [key],
    options: [FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let flag = try await session.client.admin.flags.getFlag(
        .init(flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY")))
      try session.output.print(flag) { flag.sheet }
    }
  }

  private static let list = Command(
    name: "list", summary: "List flags",
    options: [
      .init(name: "tag", value: "TAG", help: "Only flags with this tag.", isRepeatable: true),
      .init(name: "owner", value: "TEXT", help: "Only flags of this owner."),
      .init(name: "query", value: "TEXT", help: "Only flags with this in key or description."),
      .init(name: "archived", help: "Archived flags too."),
      FlagOptions.pageSize, FlagOptions.pageToken, FlagOptions.flagSet,
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonFlagsV1.ListFlagsRequest(
        flagSet: invocation.option("flag-set") ?? "",
        pageSize: try invocation.integer("page-size") ?? 1_000,
        pageToken: invocation.option("page-token") ?? "", tags: invocation.all("tag"),
        owner: invocation.option("owner") ?? "", query: invocation.option("query") ?? "",
        showArchived: invocation.has("archived"))
      var answer = KeelsonFlagsV1.ListFlagsResponse()
      repeat {
        let page = try await session.client.admin.flags.listFlags(request)
        answer.flags += page.flags
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  private static let update = Command(
    name: "update", summary: "Change what is named, and nothing else",
    discussion: """
      An option with an empty value clears what it names; only variants there must always be.
      --variant and --tag replace all variants and all tags.
      """,
    arguments: [key],
    options: FlagOptions.definition + [
      FlagOptions.etag, FlagOptions.environment, FlagOptions.flagSet,
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var flag = try definition(invocation)
      flag.etag = invocation.option("etag") ?? ""
      var paths = [
        ("description", "description"), ("variant", "variants"), ("owner", "owner"),
        ("tag", "tags"), ("expires", "expire_time"), ("metadata", "metadata"),
      ].filter { invocation.has($0.0) }.map(\.1)
      if flag.tags == [""] { flag.tags = [] }
      if invocation.has("default-variant") || invocation.has("targeting") {
        let environment = try await session.environment(invocation)
        flag.environments[environment] = try state(invocation)
        if invocation.has("default-variant") {
          paths.append("environments.\(environment).default_variant")
        }
        if invocation.has("targeting") { paths.append("environments.\(environment).targeting") }
      }
      guard !paths.isEmpty else {
        throw UsageError("Name what to change, --description for example; see --help.")
      }
      let updated = try await session.client.admin.flags.updateFlag(
        .init(flag: flag, updateMask: .init(paths: paths)))
      try session.output.print(updated) { updated.sheet }
    }
  }

  private static let toggle = Command(
    name: "toggle", summary: "Enable or disable a flag in an environment", arguments: [key],
    options: [
      .init(name: "on", help: "Enable it."), .init(name: "off", help: "Disable it."),
      FlagOptions.etag, FlagOptions.environment, FlagOptions.flagSet,
    ] + Session.options
  ) { invocation in
    guard invocation.has("on") != invocation.has("off") else {
      throw UsageError("Say either --on or --off.")
    }
    try await Session.run(invocation) { session in
      let flag = try await session.client.admin.flags.toggleFlag(
        .init(
          flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
          environment: invocation.option("environment") ?? "", enabled: invocation.has("on"),
          etag: invocation.option("etag") ?? ""))
      try session.output.print(flag) { flag.sheet }
    }
  }

  private static let archive = Command(
    name: "archive", summary: "Take a flag out of use", arguments: [key],
    options: [FlagOptions.etag, FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let flag = try await session.client.admin.flags.archiveFlag(
        .init(
          flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
          etag: invocation.option("etag") ?? ""))
      try session.output.print(flag) { flag.sheet }
    }
  }

  private static let restore = Command(
    name: "restore", summary: "Take an archived flag into use again", arguments: [key],
    options: [FlagOptions.etag, FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let flag = try await session.client.admin.flags.restoreFlag(
        .init(
          flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
          etag: invocation.option("etag") ?? ""))
      try session.output.print(flag) { flag.sheet }
    }
  }

  private static let history = Command(
    name: "history", summary: "Show a flag's changes, newest first", arguments: [key],
    options: [FlagOptions.pageSize, FlagOptions.pageToken, FlagOptions.flagSet] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      // Pages of the server's own size: each entry holds a whole flag.
      var request = KeelsonFlagsV1.ListFlagHistoryRequest(
        flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
        pageSize: try invocation.integer("page-size") ?? 0,
        pageToken: invocation.option("page-token") ?? "")
      var answer = KeelsonFlagsV1.ListFlagHistoryResponse()
      repeat {
        let page = try await session.client.admin.flags.listFlagHistory(request)
        answer.entries += page.entries
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  private static let evaluate = Command(
    name: "evaluate", summary: "Evaluate a flag for a context", arguments: [key],
    options: [
      .init(
        name: "targeting-key", value: "TEXT", help: "Who it is for: a user's id, for example."),
      .init(
        name: "context", value: "JSON|@FILE", help: "What else rules can see, as a JSON object."),
      FlagOptions.environment, FlagOptions.flagSet,
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.flags.evaluateFlag(
        .init(
          flagSet: invocation.option("flag-set") ?? "",
          environment: invocation.option("environment") ?? "", key: invocation.argument("KEY"),
          targetingKey: invocation.option("targeting-key") ?? "",
          context: try FlagOptions.object("context", invocation)))
      try session.output.print(answer) { answer.sheet }
    }
  }

  private static let watch = Command(
    name: "watch", summary: "Show the rules of a set, then every change, until Ctrl-C",
    discussion:
      "Goes on by itself when the connection or the server is lost, without loss or repetition.",
    options: [
      .init(
        name: "resume", value: "REVISION", help: "Go on after a revision instead of a snapshot."),
      FlagOptions.environment, FlagOptions.flagSet,
    ] + Session.streamOptions
  ) { invocation in
    let request = KeelsonFlagsV1.WatchFlagsRequest(
      flagSet: invocation.option("flag-set") ?? "",
      environment: invocation.option("environment") ?? "",
      resumeRevision: try invocation.integer("resume") ?? 0)
    try await Session.run(invocation) { session in
      let service = session.client.admin.flags
      try await session.follow(
        "flag changes", from: request, begin: { service.watchFlags($0, options: $1) },
        heartbeat: { response in
          guard case .heartbeat(let heartbeat) = response.event else { return nil }
          return .some(heartbeat.interval)
        },
        take: { response, request in
          request.resumeRevision = response.revision
          try session.output.show(response, response.line)
        })
    }
  }

  private static func definition(_ invocation: Invocation) throws -> KeelsonFlagsV1.Flag {
    KeelsonFlagsV1.Flag(
      flagSet: invocation.option("flag-set") ?? "", key: invocation.argument("KEY"),
      description: invocation.option("description") ?? "",
      variants: try FlagOptions.variants(invocation), owner: invocation.option("owner") ?? "",
      tags: invocation.all("tag"), expireTime: try FlagOptions.time("expires", invocation),
      metadata: try FlagOptions.object("metadata", invocation))
  }

  private static func state(_ invocation: Invocation) throws -> KeelsonFlagsV1.FlagState {
    KeelsonFlagsV1.FlagState(
      enabled: invocation.has("enabled"),
      defaultVariant: invocation.option("default-variant") ?? "",
      targeting: try FlagOptions.rules("targeting", invocation) ?? "")
  }
}
