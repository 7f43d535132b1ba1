import KeelsonConfigurationRules
import KeelsonCore

/// One thing that is wrong with Keelson's own settings.
package struct SettingsProblem: Sendable, Hashable, CustomStringConvertible {
  /// The setting; empty where a file or a store as a whole is at fault.
  package var key: String
  /// Where it stands: a file, an environment variable, an option; empty where that is not known.
  package var source: String
  /// Which rule is broken, for machines: `maximum`, `known-key`, `syntax`.
  package var rule: String
  /// What is wrong and what to do; no secret stands in it.
  package var message: String

  package init(key: String = "", source: String = "", rule: String, message: String) {
    self.key = key
    self.source = source
    self.rule = rule
    self.message = message
  }

  init(_ violation: ConfigurationViolation) {
    self.init(
      key: violation.key, source: violation.source, rule: violation.rule.rawValue,
      message: violation.rule == .knownKey
        ? "is no setting of Keelson's"
          + NearestWord.suggestion(for: violation.key, among: ServerSchema.schema.keys)
          + "; 'keelson config settings' lists them" : violation.message)
  }

  /// `appsettings.json: Limits:connections: has to be ... [maximum]`.
  package var description: String {
    [source, key, message].filter { !$0.isEmpty }.joined(separator: ": ") + " [\(rule)]"
  }
}

/// Everything that is wrong with Keelson's own settings.
package struct SettingsError: Error, Sendable, CustomStringConvertible {
  package let problems: [SettingsProblem]

  package init(_ problems: [SettingsProblem]) {
    self.problems = problems
  }

  package var description: String {
    let count = problems.count == 1 ? "an error" : "\(problems.count) errors"
    return (["The configuration has \(count):"] + problems.map { "  \($0)" })
      .joined(separator: "\n")
  }
}
