import KeelsonCore
import KeelsonServer

/// `keelson limits`: what the server's limits are called and what they are without settings.
enum LimitsCommand {
  static let command = Command(
    name: "limits", summary: "Show the limits of the server",
    discussion: """
      Set them with 'keelson serve --limit NAME=VALUE', as often as needed, or all at once in \
      KEELSON_LIMITS, 'running-calls=1000,preface-timeout=5s' for example.
      """,
    options: [Output.option]
  ) { invocation in
    switch Output(invocation).format {
    case .json:
      let rows = ServerLimits.all.map { limit in
        JSONValue.object([
          "name": .string(limit.name), "default": .string(limit.defaultText),
          "range": .string(limit.rangeText),
          "what": .string(limit.what), "beyond": .string(limit.beyond),
        ])
      }
      try Output.line(JSONValue.array(rows).text)
    case .table:
      var table = Table("NAME", "DEFAULT", "OF WHAT", "BEYOND IT")
      for limit in ServerLimits.all {
        table.add(limit.name, limit.defaultText, limit.what, limit.beyond)
      }
      try Output.line(table.text)
    }
  }
}
