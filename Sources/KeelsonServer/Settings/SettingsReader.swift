import KeelsonConfigurationRules
import KeelsonCore

/// Takes settings out of a configuration that the schema has let through, and gathers what the
/// schema cannot say.
struct SettingsReader {
  let configuration: EffectiveConfiguration
  private(set) var problems: [SettingsProblem] = []

  init(_ configuration: EffectiveConfiguration) {
    self.configuration = configuration
  }

  func isSet(_ key: String) -> Bool {
    configuration.settings[key].map { $0.layer != .defaults } ?? false
  }

  /// A text; nil when it is not set, or empty, which says the same.
  func text(_ key: String) -> String? {
    guard case .string(let text)? = configuration[key], !text.isEmpty else { return nil }
    return text
  }

  func flag(_ key: String) -> Bool {
    configuration[key] == .boolean(true)
  }

  func integer(_ key: String) -> Int? {
    guard case .integer(let number)? = configuration[key] else { return nil }
    return Int(number)
  }

  func duration(_ key: String) -> Duration? {
    guard case .duration(let duration)? = configuration[key] else { return nil }
    return duration
  }

  /// The texts of a list; elements that are none are noted.
  mutating func texts(_ key: String) -> [String] {
    guard case .list(let elements)? = configuration[key] else { return [] }
    var texts: [String] = []
    for element in elements {
      if case .string(let text) = element {
        texts.append(text)
      } else {
        note(key, "type", "has to be a list of strings; \(element.text) is none")
      }
    }
    return texts
  }

  /// The keys directly below one, by their last section.
  func sections(below key: String) -> [String: EffectiveConfiguration.Setting] {
    let prefix = "\(key):"
    return configuration.settings.reduce(into: [:]) { found, setting in
      if setting.key.hasPrefix(prefix) {
        found[String(setting.key.dropFirst(prefix.count))] = setting.value
      }
    }
  }

  mutating func note(_ key: String, _ rule: String, _ message: String) {
    problems.append(
      SettingsProblem(
        key: key, source: configuration.settings[key]?.source ?? "", rule: rule, message: message))
  }

  /// Notes a setting that says nothing without another.
  mutating func require(_ key: String, for other: String) {
    guard isSet(other), text(key) == nil else { return }
    note(other, "required", "needs \(Self.name(key)) as well")
  }

  /// A setting with the option that says the same: `Tls:KeyFile (--tls-key)`.
  static func name(_ key: String) -> String {
    ServerSchema.options[key].map { "\(key) (--\($0))" } ?? key
  }
}
