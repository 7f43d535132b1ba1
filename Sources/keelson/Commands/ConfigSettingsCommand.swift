import KeelsonCore
import KeelsonServer

/// `keelson config settings`: what the server's own settings are called and what they are without
/// a value.
enum ConfigSettingsCommand {
  static let command = Command(
    name: "settings", summary: "Show the settings that the server has",
    discussion: """
      A setting stands in appsettings.json ({"Tls": {"KeyFile": "x"}}), in an environment variable \
      (KEELSON__Tls__KeyFile=x), in a secret store, or is an option of 'keelson serve'. Each limit \
      that 'keelson limits' shows is one as well: Limits:NAME.
      """,
    options: [Output.option]
  ) { invocation in
    switch Output(invocation).format {
    case .json:
      let rows = ServerSchema.rows.map { row in
        JSONValue.object([
          "key": .string(row.key), "option": .string(row.option), "type": .string(row.type),
          "default": .string(row.defaultValue), "what": .string(row.what),
        ])
      }
      try Output.line(JSONValue.array(rows).text)
    case .table:
      var table = Table("SETTING", "OPTION", "TYPE", "DEFAULT", "WHAT")
      for row in ServerSchema.rows {
        table.add(row.key, row.option, row.type, row.defaultValue, row.what)
      }
      try Output.line(table.text)
    }
  }
}
