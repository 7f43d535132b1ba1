import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson flag-sets`: sets of flags that are evaluated and watched together.
enum FlagSetsCommand {
  static let command = Command(
    name: "flag-sets", summary: "Manage flag sets", subcommands: [create, get, list, update])

  private static let key = Command.Argument(name: "KEY", help: "The set's key.")
  private static let definition: [Command.Option] = [
    .init(name: "description", value: "TEXT", help: "What it is for."),
    .init(
      name: "bucketing", value: "SCHEME",
      help: "How rollouts place users into buckets; changing it moves users.",
      choices: ["v2", "v3"]),
    .init(name: "metadata", value: "JSON", help: "An object that evaluations hand out."),
  ]

  private static let create = Command(
    name: "create", summary: "Create a flag set", arguments: [key],
    options: definition + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let created = try await session.client.admin.flags.createFlagSet(
        .init(flagSet: try set(invocation)))
      try session.output.print(created) { created.sheet }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show a flag set", arguments: [key], options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let set = try await session.client.admin.flags.getFlagSet(
        .init(key: invocation.argument("KEY")))
      try session.output.print(set) { set.sheet }
    }
  }

  private static let list = Command(
    name: "list", summary: "List the flag sets",
    options: [FlagOptions.pageSize, FlagOptions.pageToken] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonFlagsV1.ListFlagSetsRequest(
        pageSize: try invocation.integer("page-size") ?? 1_000,
        pageToken: invocation.option("page-token") ?? "")
      var answer = KeelsonFlagsV1.ListFlagSetsResponse()
      repeat {
        let page = try await session.client.admin.flags.listFlagSets(request)
        answer.flagSets += page.flagSets
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  private static let update = Command(
    name: "update", summary: "Change a flag set", arguments: [key],
    options: definition + [FlagOptions.etag] + Session.options
  ) { invocation in
    let paths = ["description", "bucketing", "metadata"].filter { invocation.has($0) }
    guard !paths.isEmpty else {
      throw UsageError("Name what to change: --description, --bucketing or --metadata.")
    }
    try await Session.run(invocation) { session in
      let updated = try await session.client.admin.flags.updateFlagSet(
        .init(flagSet: try set(invocation), updateMask: .init(paths: paths)))
      try session.output.print(updated) { updated.sheet }
    }
  }

  private static func set(_ invocation: Invocation) throws -> KeelsonFlagsV1.FlagSet {
    KeelsonFlagsV1.FlagSet(
      key: invocation.argument("KEY"), description: invocation.option("description") ?? "",
      bucketing: invocation.option("bucketing").map { $0 == "v2" ? .v2 : .v3 } ?? .unspecified,
      metadata: try FlagOptions.object("metadata", invocation),
      etag: invocation.option("etag") ?? "")
  }
}
