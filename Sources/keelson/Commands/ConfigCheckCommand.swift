import KeelsonConfigurationRules
import KeelsonCore
import KeelsonServer

/// `keelson config check`: whether the server's own settings are good, without starting it.
enum ConfigCheckCommand {
  static let command = Command(
    name: "check", summary: "Check the server's own configuration",
    discussion: """
      Reads every layer as 'keelson serve' would, with the files and secret stores that they name, \
      and says everything that is wrong at once. Exit status 1 when anything is.
      """,
    options: [
      SettingOptions.config,
      .init(
        name: "environment", value: "NAME",
        help: "Check for this environment, whatever the files and variables say."),
      .init(
        name: "show",
        help: "Print every setting with its value and the layer that gave it; secrets masked."),
      Output.option,
    ]
  ) { invocation in
    let logger = Logger.standardError(component: "config", minimum: .warning)
    let loader = SettingsLoader(
      path: invocation.option("config"), variables: SettingOptions.variables,
      options: SettingOptions.layer(invocation), logger: logger)
    let loaded = try await loader.load()
    let problems = try await loaded.allProblems(
      variables: SettingOptions.variables, logger: logger)
    let rows = invocation.has("show") ? ConfigCheckCommand.rows(loaded) : []
    switch Output(invocation).format {
    case .json: try Output.line(json(loaded, problems, invocation.has("show") ? rows : nil).text)
    case .table:
      try Output.line(summary(loaded))
      if !rows.isEmpty { try Output.line("\n" + table(rows)) }
      try Output.line("\n" + verdict(problems))
    }
    if !problems.isEmpty { throw SilentFailure() }
  }

  // MARK: For people

  private static func summary(_ loaded: SettingsLoader.Loaded) -> String {
    let files = loaded.files.isEmpty ? "none" : loaded.files.joined(separator: ", ")
    let stores = loaded.storeNames.isEmpty ? "none" : loaded.storeNames.joined(separator: ", ")
    return """
      environment    \(loaded.environment) (\(loaded.environmentSource))
      files          \(files)
      secret stores  \(stores)
      """
  }

  private static func verdict(_ problems: [SettingsProblem]) -> String {
    guard !problems.isEmpty else { return "The configuration is good." }
    return SettingsError(problems).description
  }

  private static func table(_ rows: [Row]) -> String {
    var table = Table("SETTING", "VALUE", "LAYER", "FROM")
    for row in rows { table.add(row.key, row.value, row.layer, row.source) }
    return table.text
  }

  // MARK: For scripts

  private static func json(
    _ loaded: SettingsLoader.Loaded, _ problems: [SettingsProblem], _ rows: [Row]?
  ) -> JSONValue {
    func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    var object: [String: JSONValue] = [
      "environment": .string(loaded.environment),
      "environment_source": .string(loaded.environmentSource),
      "files": list(loaded.files), "secret_stores": list(loaded.storeNames),
      "errors": .array(
        problems.map {
          [
            "key": .string($0.key), "source": .string($0.source), "rule": .string($0.rule),
            "message": .string($0.message),
          ]
        }),
    ]
    if let rows {
      object["settings"] = .array(
        rows.map {
          [
            "key": .string($0.key), "value": .string($0.value), "layer": .string($0.layer),
            "source": .string($0.source),
          ]
        })
    }
    return .object(object)
  }

  /// One setting as it is shown.
  private struct Row {
    let key: String
    let value: String
    let layer: String
    let source: String
  }

  private static func rows(_ loaded: SettingsLoader.Loaded) -> [Row] {
    loaded.configuration.settings.sorted { $0.key < $1.key }.map { key, setting in
      Row(
        key: key, value: loaded.shownValue(of: key), layer: setting.layer.name,
        source: setting.source)
    }
  }
}
