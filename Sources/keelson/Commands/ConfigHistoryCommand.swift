import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// The commands under `keelson config` that are about the past of settings.
enum ConfigHistoryCommand {
  static let history = Command(
    name: "history", summary: "Show changes, newest first",
    arguments: [.init(name: "KEY", help: "Of one setting only.", isOptional: true)],
    options: ConfigOptions.paging + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonConfigurationV1.ListSettingHistoryRequest(
        application: try ConfigOptions.application(invocation),
        environment: invocation.option("environment") ?? "",
        key: invocation.arguments["KEY"] ?? "",
        pageSize: try invocation.integer("page-size") ?? 0,
        pageToken: invocation.option("page-token") ?? "")
      var answer = KeelsonConfigurationV1.ListSettingHistoryResponse()
      repeat {
        let page = try await session.client.admin.configuration.listSettingHistory(request)
        answer.entries += page.entries
        answer.oldestRevision = page.oldestRevision
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  static let rollback = Command(
    name: "rollback", summary: "Make settings what they were after a revision or in a snapshot",
    options: [
      .init(name: "revision", value: "REVISION", help: "What was set after this revision."),
      .init(name: "snapshot", value: "NAME", help: "What is in this snapshot."),
      .init(
        name: "key", value: "KEY", help: "Only this setting; all when not given.",
        isRepeatable: true),
    ] + ConfigOptions.scope
  ) { invocation in
    guard invocation.has("revision") != invocation.has("snapshot") else {
      throw UsageError("Say either --revision or --snapshot.")
    }
    try await Session.run(invocation) { session in
      var request = KeelsonConfigurationV1.RollbackSettingsRequest(
        application: try ConfigOptions.application(invocation),
        environment: invocation.option("environment") ?? "", keys: invocation.all("key"))
      if let name = invocation.option("snapshot") {
        request.target = .toSnapshot(name)
      } else {
        request.target = .toRevision(try invocation.integer("revision") ?? 0)
      }
      let answer = try await session.client.admin.configuration.rollbackSettings(request)
      try session.output.print(answer) {
        answer.changedKeys.isEmpty
          ? "Nothing differs (revision \(answer.revision))."
          : "Changed: \(answer.changedKeys.joined(separator: ", ")) (revision \(answer.revision))."
      }
    }
  }

  static let snapshots = Command(
    name: "snapshots", summary: "Keep settings under a name",
    subcommands: [create, get, list, delete])

  private static let name = Command.Argument(name: "NAME", help: "The snapshot's name.")

  private static let create = Command(
    name: "create", summary: "Keep what is set now under a name", arguments: [name],
    options: [.init(name: "description", value: "TEXT", help: "What it is for.")]
      + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let snapshot = try await session.client.admin.configuration.createSnapshot(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? "",
          name: invocation.argument("NAME"), description: invocation.option("description") ?? ""))
      try session.output.print(snapshot) { snapshot.sheet }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show a snapshot and the settings in it", arguments: [name],
    options: ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonConfigurationV1.GetSnapshotRequest(
        application: try ConfigOptions.application(invocation),
        environment: invocation.option("environment") ?? "",
        name: invocation.argument("NAME"), pageSize: 1_000)
      var answer = KeelsonConfigurationV1.GetSnapshotResponse()
      repeat {
        let page = try await session.client.admin.configuration.getSnapshot(request)
        answer.snapshot = page.snapshot
        answer.settings += page.settings
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(answer) { answer.sheet }
    }
  }

  private static let list = Command(
    name: "list", summary: "List snapshots", options: ConfigOptions.paging + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonConfigurationV1.ListSnapshotsRequest(
        application: try ConfigOptions.application(invocation),
        environment: invocation.option("environment") ?? "",
        pageSize: try invocation.integer("page-size") ?? 1_000,
        pageToken: invocation.option("page-token") ?? "")
      var answer = KeelsonConfigurationV1.ListSnapshotsResponse()
      repeat {
        let page = try await session.client.admin.configuration.listSnapshots(request)
        answer.snapshots += page.snapshots
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Delete a snapshot", arguments: [name], options: ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.configuration.deleteSnapshot(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? "",
          name: invocation.argument("NAME")))
      try session.output.print(answer) { "Deleted." }
    }
  }
}
