/// One thing that is wrong with a configuration.
package struct ConfigurationViolation: Sendable, Hashable {
  package var key: String
  /// The layer whose value is at fault; for a missing one, the highest that could give it.
  package var layer: ConfigurationLayer
  /// Where the value stands, as ``LayerValue/source``.
  package var source: String
  package var rule: Rule
  /// A sentence that tells what is wrong and what to do. No secret stands in it.
  package var message: String

  package init(
    key: String, layer: ConfigurationLayer, source: String = "", rule: Rule, message: String
  ) {
    self.key = key
    self.layer = layer
    self.source = source
    self.rule = rule
    self.message = message
  }

  /// Which rule is broken.
  package enum Rule: String, Sendable, Hashable, CaseIterable {
    /// The key itself is not well formed.
    case keyForm = "key-form"
    /// No rule of a closed schema names the key.
    case knownKey = "known-key"
    /// The key lies within another that is one value.
    case section
    case type
    case required
    case minimum
    case maximum
    case length
    case format
    case pattern
    case allowedValues = "allowed-values"
    /// The value has too many bytes.
    case size
  }
}

extension ConfigurationViolation: CustomStringConvertible {
  /// `Database:Url (appsettings.json): is required ...`, for people.
  package var description: String {
    "\(key) (\(source.isEmpty ? layer.name : source)): \(message)"
  }
}
