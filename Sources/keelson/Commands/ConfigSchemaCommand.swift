import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// `keelson config schema`: the rules of an application's settings.
enum ConfigSchemaCommand {
  static let command = Command(
    name: "schema", summary: "Show and define the rules of an application's settings",
    subcommands: [get, define])

  private static let get = Command(
    name: "get", summary: "Show an application's schema",
    options: [ConfigOptions.application] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let schema = try await ConfigOptions.schema(session, invocation)
      try session.output.print(schema) { schema.table }
    }
  }

  private static let define = Command(
    name: "define", summary: "Give an application a schema",
    discussion: """
      The file is JSON: {"closed": true, "rules": [{"key": "Server:Port", "type": "integer", \
      "minimum": 1, "maximum": 65535, "default": 8080}]}. A rule may also have required, format, \
      minimum_length, maximum_length, pattern, allowed_values, sensitive and description.
      """,
    arguments: [.init(name: "FILE", help: "A JSON file; - for the standard input.")],
    options: [
      .init(
        name: "allow-violations",
        help: "Take it even if values break it; those do not count until they are mended."),
      FlagOptions.etag, ConfigOptions.application,
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      var schema = try SchemaFile.schema(
        ConfigOptions.json(file: invocation.argument("FILE")),
        application: try ConfigOptions.application(invocation))
      if let etag = invocation.option("etag") { schema.etag = etag }
      let answer = try await session.client.admin.configuration.defineSchema(
        .init(schema: schema, allowViolations: invocation.has("allow-violations")))
      try session.output.print(answer) { answer.text }
    }
  }
}
