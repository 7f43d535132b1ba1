/// Whose settings: an application in an environment.
package struct ConfigurationScope: Sendable, Hashable, CustomStringConvertible {
  package var application: String
  package var environment: String

  package init(application: String, environment: String) {
    self.application = application
    self.environment = environment
  }

  /// `shop/production`.
  package var description: String { "\(application)/\(environment)" }

  func subject(_ key: String) -> String { "\(self)/\(key)" }
}
