/// Where a setting's value comes from, the lowest first: a higher layer hides a lower one.
public enum ConfigurationLayer: Int, Sendable, Hashable, CaseIterable, Comparable {
  /// The default in the schema.
  case defaults
  /// `appsettings.json`.
  case file
  /// `appsettings.<Environment>.json`.
  case environmentFile
  /// Secret stores.
  case secretStore
  case environmentVariables
  /// Set through the API.
  case api
  /// Options of a command, for Keelson's own settings.
  case commandLine

  public static func < (lhs: ConfigurationLayer, rhs: ConfigurationLayer) -> Bool {
    lhs.rawValue < rhs.rawValue
  }

  /// Its name for machines: `environment-file`.
  public var name: String {
    switch self {
    case .defaults: "defaults"
    case .file: "file"
    case .environmentFile: "environment-file"
    case .secretStore: "secret-store"
    case .environmentVariables: "environment-variables"
    case .api: "api"
    case .commandLine: "command-line"
    }
  }

  /// Whether its values are texts that may say a boolean, a number or a list.
  package var hasTextOnly: Bool {
    self == .secretStore || self == .environmentVariables || self == .commandLine
  }
}
