/// Where the layers of one application's configuration are, below what is set through the API.
///
/// `{environment}` in a place stands for the environment.
package struct ApplicationSettings: Sendable, Equatable {
  let name: String
  /// A folder with `appsettings.json` and `appsettings.<Environment>.json`.
  var folder: String?
  /// Whose layers there are; empty: the server's own and those that the folder has files for.
  var environments: [String] = []
  /// What begins the names of its environment variables, two underscores included.
  var variablePrefix: String?
  /// A section of Keelson's own secret stores.
  var secretSection: String?
  var secretFolder: String?
  /// A secret in Keelson's own Vault.
  var vaultPath: String?
  /// A key vault of its own, read with Keelson's credentials.
  var azureVault: String?

  /// The environments that it has layers in.
  ///
  /// - Parameter own: the server's.
  func environments(own: String) -> [String] {
    guard environments.isEmpty else { return environments }
    guard let folder, !folder.contains("{environment}") else { return [own] }
    let named = SettingsFiles(path: folder + "/").environments
    return ([own] + named.filter { $0 != own.lowercased() }).sorted()
  }

  /// A place in an environment.
  static func place(_ text: String, in environment: String) -> String {
    text.replacing("{environment}", with: environment)
  }

  /// All applications that settings name.
  static func all(_ reader: inout SettingsReader) -> [ApplicationSettings] {
    typealias Name = SettingName.Application
    let names = Set(
      reader.sections(below: Name.section).keys.compactMap { $0.split(separator: ":").first })
    return names.sorted().map { name in
      func key(_ last: String) -> String { "\(Name.section):\(name):\(last)" }
      var application = ApplicationSettings(name: String(name))
      application.folder = reader.text(key(Name.folder))
      application.variablePrefix = reader.text(key(Name.variablePrefix))
      application.secretSection = reader.text(key(Name.secretSection))
      application.secretFolder = reader.text(key(Name.secretFolder))
      application.vaultPath = reader.text(key(Name.vaultPath))
      application.azureVault = reader.text(key(Name.azureVault))
      application.environments = reader.texts(key(Name.environments))
      if let prefix = application.variablePrefix, !prefix.hasSuffix("__") {
        reader.note(
          key(Name.variablePrefix), "prefix", "has to end in two underscores: '\(prefix)__'")
      }
      if application.vaultPath != nil {
        reader.require(SettingName.Vault.address, for: key(Name.vaultPath))
      }
      if application.azureVault != nil {
        reader.require(SettingName.Azure.tenant, for: key(Name.azureVault))
      }
      return application
    }
  }
}
