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
    // Files and variables can have keys of any length.
    self.key = key.cut(toBytes: SettingKey.maximumBytes)
    self.layer = layer
    self.source = source.cut(toBytes: 256)
    self.rule = rule
    self.message = message
  }

  /// What is wrong where, whatever words tell it.
  package struct Place: Sendable, Hashable {
    package var key: String
    package var layer: ConfigurationLayer
    package var rule: Rule
  }

  package var place: Place { Place(key: key, layer: layer, rule: rule) }

  /// How much room it takes in an answer, about.
  package var byteCount: Int {
    key.utf8.count + source.utf8.count + message.utf8.count + 64
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
    /// One place gives the key in two ways.
    case duplicate
    /// Checking it would take too long.
    case steps
  }
}

extension Sequence<ConfigurationViolation> {
  /// As many of the first as an answer has room for.
  package func fitting(count: Int, bytes: Int) -> [ConfigurationViolation] {
    var left = bytes
    return Array(
      prefix(count).prefix { violation in
        left -= violation.byteCount
        return left >= 0
      })
  }
}

extension ConfigurationViolation: CustomStringConvertible {
  /// `Database:Url (appsettings.json): is required ...`, for people.
  package var description: String {
    "\(key) (\(source.isEmpty ? layer.name : source)): \(message)"
  }
}

extension String {
  /// The beginning where it is long; by bytes, since one character may have thousands.
  package func cut(toBytes bytes: Int) -> String {
    utf8.count <= bytes ? self : String(decoding: utf8.prefix(bytes), as: UTF8.self) + "..."
  }
}
