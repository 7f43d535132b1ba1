import KeelsonAPI
import KeelsonClient
import KeelsonConfigurationRules
import KeelsonCore

/// `keelson config`: the settings of applications, and Keelson's own.
enum ConfigCommand {
  static let command = Command(
    name: "config", summary: "Read, set, check and watch the settings of applications",
    subcommands: [
      ConfigCheckCommand.command, ConfigSettingsCommand.command, list, get, set, delete, batch,
      validate, reload, watch, ConfigHistoryCommand.history, ConfigHistoryCommand.rollback,
      ConfigHistoryCommand.snapshots, ConfigSchemaCommand.command, applications, rotateKey,
    ])

  private static let key = Command.Argument(name: "KEY", help: "The setting: Database:Url.")

  private static let list = Command(
    name: "list", summary: "List settings and the layers that gave them",
    options: [
      .init(name: "prefix", value: "TEXT", help: "Only keys that begin with this: Database:."),
      ConfigOptions.reveal,
    ] + ConfigOptions.paging + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonConfigurationV1.ListSettingsRequest(
        application: try ConfigOptions.application(invocation),
        environment: invocation.option("environment") ?? "",
        pageSize: try invocation.integer("page-size") ?? 1_000,
        pageToken: invocation.option("page-token") ?? "",
        keyPrefix: invocation.option("prefix") ?? "", reveal: invocation.has("reveal"))
      var answer = KeelsonConfigurationV1.ListSettingsResponse()
      repeat {
        let page = try await session.client.admin.configuration.listSettings(request)
        answer.settings += page.settings
        answer.revision = page.revision
        answer.nextPageToken = page.nextPageToken
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty && !invocation.has("page-size")
      try session.output.print(answer) { answer.table }
    }
  }

  private static let get = Command(
    name: "get", summary: "Show a setting and what each layer has for it", arguments: [key],
    options: [ConfigOptions.reveal] + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let setting = try await session.client.admin.configuration.getSetting(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? "", key: invocation.argument("KEY"),
          reveal: invocation.has("reveal")))
      try session.output.print(setting) { setting.sheet }
    }
  }

  private static let set = Command(
    name: "set", summary: "Set a value",
    discussion: """
      The value is read as the schema's type has it; where the schema has none, true, 42, 1.5, \
      [1,2] and {"a":1} mean what they look like, and anything else is text. A secret is never \
      taken from the command line: leave VALUE away, and it is read from the standard input, or \
      from --file.
      """,
    arguments: [key, .init(name: "VALUE", help: "The value.", isOptional: true)],
    options: [
      .init(name: "string", help: "Take the value as text, whatever it looks like."),
      .init(name: "secret", help: "Keep it as a secret even if the schema does not say so."),
      .init(name: "file", value: "FILE", help: "Read the value from a file."),
      ConfigOptions.etag,
    ] + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let key = invocation.argument("KEY")
      let schema = try await ConfigOptions.schema(session, invocation)
      let given = invocation.arguments["VALUE"]
      var isSecret = invocation.has("secret") || schema.rule(for: key)?.sensitive == true
      if given != nil, !isSecret {
        isSecret = try await ConfigOptions.isSecret(key, session, invocation)
      }
      guard !(isSecret && given != nil) else {
        throw UsageError(
          "'\(key)' is a secret: others see the arguments of a command. Leave the value away and "
            + "give it on the standard input, or in a file with --file.")
      }
      guard given == nil || !invocation.has("file") else {
        throw UsageError("Give either VALUE or --file.")
      }
      let text = try given ?? ConfigOptions.secret(file: invocation.option("file"))
      guard given != nil || !text.isEmpty || invocation.has("string") else {
        throw UsageError(
          "No value came from \(invocation.option("file") ?? "the standard input"). To set an empty "
            + "text, say --string.")
      }
      let setting = try await session.client.admin.configuration.setSetting(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? "", key: key,
          value: ConfigOptions.value(
            text, type: invocation.has("string") ? .string : schema.type(of: key)),
          sensitive: invocation.has("secret"), etag: invocation.option("etag") ?? ""))
      try session.output.print(setting) { setting.sheet }
    }
  }

  private static let delete = Command(
    name: "delete", summary: "Delete what is set; a lower layer's value shows again",
    arguments: [key], options: [ConfigOptions.etag] + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.configuration.deleteSetting(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? "", key: invocation.argument("KEY"),
          etag: invocation.option("etag") ?? ""))
      try session.output.print(answer) {
        answer.setting?.sheet ?? "Deleted; no layer has it now (revision \(answer.revision))."
      }
    }
  }

  private static let batch = Command(
    name: "batch", summary: "Set and delete several settings at once: all or none",
    discussion: """
      The file is a JSON object: objects are sections, null deletes. A text is read as the schema's \
      type has it, so that whole numbers from 2^53 on can stand in quotes; as numbers they are \
      refused.
      """,
    arguments: [.init(name: "FILE", help: "A JSON file; - for the standard input.")],
    options: ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let schema = try await ConfigOptions.schema(session, invocation)
      let json = try ConfigOptions.json(file: invocation.argument("FILE"))
      let answer = try await session.client.admin.configuration.batchSetSettings(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? "",
          changes: try ConfigOptions.changes(json, schema: schema)))
      try session.output.print(answer) { answer.table }
    }
  }

  private static let validate = Command(
    name: "validate", summary: "Say everything that is wrong, or would be; change nothing",
    arguments: [
      .init(name: "FILE", help: "Changes to try, as 'batch' takes them.", isOptional: true)
    ],
    options: [
      .init(name: "schema", value: "FILE", help: "A schema to try in place of the current one."),
      .init(name: "reload", help: "Read files and secret stores of the server anew first."),
    ] + ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let application = try ConfigOptions.application(invocation)
      var request = KeelsonConfigurationV1.ValidateSettingsRequest(
        application: application, environment: invocation.option("environment") ?? "",
        reload: invocation.has("reload"))
      if let file = invocation.arguments["FILE"] {
        request.changes = try ConfigOptions.changes(
          ConfigOptions.json(file: file),
          schema: try await ConfigOptions.schema(session, invocation))
      }
      if let file = invocation.option("schema") {
        request.schema = try SchemaFile.schema(
          ConfigOptions.json(file: file), application: application)
      }
      let answer = try await session.client.admin.configuration.validateSettings(request)
      try session.output.print(answer) { answer.table }
      if !answer.violations.isEmpty { throw SilentFailure() }
    }
  }

  private static let reload = Command(
    name: "reload", summary: "Read files and secret stores of the server anew",
    options: ConfigOptions.scope
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.configuration.reloadSettings(
        .init(
          application: try ConfigOptions.application(invocation),
          environment: invocation.option("environment") ?? ""))
      try session.output.print(answer) {
        answer.changedKeys.isEmpty
          ? "Nothing has changed (revision \(answer.revision))."
          : "Changed: \(answer.changedKeys.joined(separator: ", ")) (revision \(answer.revision))."
      }
    }
  }

  private static let watch = Command(
    name: "watch", summary: "Show all settings, then every change, until Ctrl-C",
    discussion: """
      Goes on by itself when the connection or the server is lost, without loss or repetition. \
      With --output json each line is a message; its revision and its layers are what a later \
      watch can go on from.
      """,
    options: [
      .init(
        name: "resume", value: "REVISION",
        help: "Go on after a revision instead of a snapshot. Where layers below the API have "
          + "settings, needs --resume-layers too."),
      .init(
        name: "resume-layers", value: "LAYERS",
        help: "The layers that were named with the revision; a snapshot comes when they are others "
          + "by now."),
      ConfigOptions.reveal, ConfigOptions.application, ConfigOptions.environment,
    ] + Session.streamOptions
  ) { invocation in
    guard invocation.has("resume") || !invocation.has("resume-layers") else {
      throw UsageError("--resume-layers needs --resume as well.")
    }
    let request = KeelsonConfigurationV1.WatchSettingsRequest(
      application: try ConfigOptions.application(invocation),
      environment: invocation.option("environment") ?? "",
      resumeRevision: try invocation.integer("resume") ?? 0,
      resumeLayers: invocation.option("resume-layers") ?? "", reveal: invocation.has("reveal"))
    try await Session.run(invocation) { session in
      let service = session.client.admin.configuration
      try await session.follow(
        "changes of settings", from: request, begin: { service.watchSettings($0, options: $1) },
        heartbeat: { response in
          guard case .heartbeat(let heartbeat) = response.event else { return nil }
          return .some(heartbeat.interval)
        },
        take: { response, request in
          (request.resumeRevision, request.resumeLayers) = (response.revision, response.layers)
          try session.output.show(response, response.lines)
        })
    }
  }

  private static let applications = Command(
    name: "applications", summary: "List applications and how their settings stand",
    options: Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var request = KeelsonConfigurationV1.ListApplicationsRequest(pageSize: 1_000)
      var answer = KeelsonConfigurationV1.ListApplicationsResponse()
      repeat {
        let page = try await session.client.admin.configuration.listApplications(request)
        answer.applications += page.applications
        request.pageToken = page.nextPageToken
      } while !request.pageToken.isEmpty
      try session.output.print(answer) { answer.table }
    }
  }

  private static let rotateKey = Command(
    name: "rotate-key", summary: "Seal all secrets with a new key, while everything goes on",
    discussion: """
      Exit status 1 when something was left as it is, because a key encryption key is missing: keep \
      every key then.
      """,
    options: [
      .init(
        name: "wrapping",
        help: "Only wrap the keys with the current key encryption key; values stay as they are.")
    ] + [ConfigOptions.application, ConfigOptions.environment] + Session.streamOptions
  ) { invocation in
    try await Session.run(invocation) { session in
      let request = KeelsonConfigurationV1.RotateKeyRequest(
        application: try ConfigOptions.application(invocation),
        environment: invocation.option("environment") ?? "",
        rotation: invocation.has("wrapping") ? .wrapping : .dataKey)
      var last = KeelsonConfigurationV1.RotateKeyResponse()
      for try await progress in session.client.admin.configuration.rotateKey(request) {
        try session.output.print(progress) { progress.line }
        last = progress
      }
      guard last.finished else {
        throw RPCError(.unknown, "The server ended before it was finished: run this again.")
      }
      guard last.left == nil else { throw SilentFailure() }
    }
  }
}
