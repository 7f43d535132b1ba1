package import KeelsonConfigurationRules
package import KeelsonCore
import KeelsonSecrets

/// Loads Keelson's own settings from all their layers, by the rules that applications'
/// configuration has: `appsettings.json`, `appsettings.<Environment>.json`, secret stores,
/// environment variables, options of the command.
package struct SettingsLoader: Sendable {
  package let files: SettingsFiles
  private let variables: [String: String]
  private let options: LayerValues
  private let logger: Logger
  private static let limitsVariable = "KEELSON_LIMITS"

  /// - Parameters:
  ///   - path: the folder or file of the configuration; nil: the working folder, if it has one.
  ///   - variables: the environment of the process.
  ///   - options: the layer of the command line.
  package init(
    path: String?, variables: [String: String], options: LayerValues = LayerValues(.commandLine),
    logger: Logger = .silent
  ) {
    files = SettingsFiles(path: path)
    self.variables = variables
    self.options = options
    self.logger = logger
  }

  /// What was loaded, good or not.
  package struct Loaded: Sendable {
    package var environment = "development"
    /// What said so: a variable, a file, an option; `default`.
    package var environmentSource = "default"
    /// The files that were read.
    package var files: [String] = []
    package var configuration = EffectiveConfiguration()
    package var problems: [SettingsProblem] = []
    package var settings = ServerSettings()
    package var stores = SecretStores()

    /// The settings, when nothing is wrong with them.
    ///
    /// - Throws: ``SettingsError`` with every problem.
    package func checked() throws(SettingsError) -> ServerSettings {
      guard problems.isEmpty else { throw SettingsError(problems) }
      return settings
    }
  }

  /// Reads everything and checks everything.
  ///
  /// - Parameter held: what the process started with, whose environment and stores it keeps; nil:
  ///   it starts now.
  /// - Throws: `CancellationError` only; what is wrong stands in the problems.
  package func load(after held: Loaded? = nil) async throws -> Loaded {
    var loaded = Loaded()
    var layers = readFiles(&loaded, environment: held?.environment)
    layers.append(variableLayer(below: layers))
    layers.append(options)
    for (text, value) in ServerLimits.assignments(in: variables[Self.limitsVariable] ?? "")
    where value == nil {
      loaded.problems.append(
        SettingsProblem(
          source: Self.limitsVariable, rule: "syntax",
          message: "a limit is set as NAME=VALUE, 'running-calls=1000' for example, not '\(text)'"))
    }
    // Where the stores are, the layers beside them say.
    let schema = ServerSchema.schema
    let first = EffectiveConfiguration.merging(layers, schema: schema).configuration
    var reader = SettingsReader(first)
    // Made anew even where those of the start stay: their settings are checked by that.
    let stores = SecretStores(&reader, logger: held == nil ? logger : .silent)
    loaded.problems += reader.problems
    if let held {
      loaded.stores = held.stores
    } else {
      loaded.stores = stores
      loaded.problems += try await stores.start()
    }
    layers.append(loaded.stores.layer(schema))
    let merged = EffectiveConfiguration.merging(layers, schema: schema)
    loaded.configuration = merged.configuration
    loaded.problems += merged.violations.map(SettingsProblem.init)
    let (settings, problems) = ServerSettings.reading(merged.configuration)
    loaded.settings = settings
    loaded.problems += problems
    return loaded
  }

  /// The files as they are now, those that could be there too.
  func signature(environment: String) -> FolderSignature {
    FolderSignature(files: [files.base, files.file(ofEnvironment: environment)])
  }

  // MARK: Layers

  /// - Parameter fixed: the environment that the process has; nil: it is detected.
  private func readFiles(_ loaded: inout Loaded, environment fixed: String?) -> [LayerValues] {
    var layers: [LayerValues] = []
    func take(_ layer: ConfigurationLayer, _ file: String) -> LayerValues? {
      do throws(SettingsProblem) {
        let values = try SettingsFiles.layer(layer, file: file, schema: ServerSchema.schema)
        if values != nil { loaded.files.append(file) }
        return values
      } catch {
        loaded.files.append(file)
        loaded.problems.append(error)
        return nil
      }
    }
    let base = take(.file, files.base)
    if let base { layers.append(base) }
    if files.isRequired, loaded.files.isEmpty {
      loaded.problems.append(
        SettingsProblem(
          source: files.base, rule: "readable",
          message: "there is no such file: name the folder or the file of the configuration"))
    }
    (loaded.environment, loaded.environmentSource) = environment(base)
    if let fixed { loaded.environment = fixed }
    if let values = take(.environmentFile, files.file(ofEnvironment: loaded.environment)) {
      layers.append(values)
    }
    return layers
  }

  /// The environment, and what says so.
  private func environment(_ base: LayerValues?) -> (name: String, source: String) {
    let key = SettingName.environment
    let layers = [options, variableLayer(below: []), base].compactMap { $0 }
    for layer in layers {
      if let given = layer.values[key], case .string(let name) = given.value, !name.isEmpty {
        return (name, given.source)
      }
    }
    return ("development", "default")
  }

  private func variableLayer(below layers: [LayerValues]) -> LayerValues {
    var layer = LayerValues(
      environment: variables, prefix: ServerSchema.variablePrefix, schema: ServerSchema.schema,
      lower: layers)
    for (variable, key) in ServerSchema.olderVariables {
      guard let text = variables[variable], !text.isEmpty, layer.values[key] == nil else {
        continue
      }
      layer.values[key] = LayerValue(.string(text), source: variable)
    }
    for (name, text) in ServerLimits.assignments(in: variables[Self.limitsVariable] ?? "") {
      let key = SettingName.limit(name)
      guard let text, layer.values[key] == nil else { continue }
      layer.values[key] = LayerValue(.string(text), source: Self.limitsVariable)
    }
    return layer
  }
}
