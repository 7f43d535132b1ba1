package import KeelsonCore

/// The values of one layer, as they were read.
package struct LayerValues: Sendable, Hashable {
  package var layer: ConfigurationLayer
  package var values: [String: LayerValue]

  package init(_ layer: ConfigurationLayer, _ values: [String: LayerValue] = [:]) {
    self.layer = layer
    self.values = values
  }
}

/// A value in a layer.
package struct LayerValue: Sendable, Hashable {
  package var value: SettingValue
  /// Where exactly it stands, for people: a file's name, an environment variable's. Empty: the
  /// layer says it.
  package var source: String
  /// Whether it is a secret whatever the schema says, as what secret stores give is.
  package var isSensitive: Bool
  /// Where the layer gives the key in two ways: a clause that names both places. The value does
  /// not count then, as nobody can tell which was meant.
  package var conflict: String?

  package init(
    _ value: SettingValue, source: String = "", isSensitive: Bool = false, conflict: String? = nil
  ) {
    self.value = value
    self.source = source
    self.isSensitive = isSensitive
    self.conflict = conflict
  }

  /// The clause for two places, as they are called in the layer.
  static func conflict(_ first: String, _ second: String) -> String {
    "is given twice, by \(first) and by \(second); keep one of them"
  }
}

extension LayerValues {
  /// The layer of a JSON document: objects become sections, but for those that the schema has as
  /// one value. A null sets nothing.
  ///
  /// - Throws: ``LayerError`` when the document is no object.
  package init(
    _ layer: ConfigurationLayer, document: JSONValue, source: String,
    schema: ConfigurationSchema
  ) throws(LayerError) {
    guard case .object(let members) = document else {
      throw LayerError(
        "\(source) has to be a JSON object, {\"Section\": {\"Key\": 1}} for example.")
    }
    self.init(layer)
    var places: [String: String] = [:]
    flatten(members, below: "", at: "", &places, source: source, schema: schema)
  }

  /// - Parameters:
  ///   - path: the members that lead here, `"Database" > "Url"`.
  ///   - places: where each key was found.
  private mutating func flatten(
    _ members: [String: JSONValue], below prefix: String, at path: String,
    _ places: inout [String: String], source: String, schema: ConfigurationSchema
  ) {
    // Sorted, so that two ways to write one key are always told alike.
    for (name, member) in members.sorted(by: { $0.key < $1.key }) {
      let key = SettingKey.joined(prefix, name)
      let place = (path.isEmpty ? "" : path + " > ") + "\"\(name)\""
      if case .object(let inner) = member, !schema.isWholeObject(key) {
        flatten(inner, below: key, at: place, &places, source: source, schema: schema)
      } else if let value = SettingValue(member) {
        let conflict = places[key].map { LayerValue.conflict($0, place) }
        values[key] = LayerValue(value, source: source, conflict: conflict)
        places[key] = place
      }
    }
  }

  /// The layer of environment variables: `KEELSON__Database__Url` is `Database:Url`.
  ///
  /// A variable means the known key that it equals but for case; of a list, `..__0`, `..__1` may
  /// give the elements one by one.
  ///
  /// - Parameters:
  ///   - prefix: what the names begin with, two underscores included: `KEELSON__`.
  ///   - lower: the layers below, whose keys are known beside those of the schema.
  package init(
    environment: [String: String], prefix: String, schema: ConfigurationSchema,
    lower: [LayerValues] = []
  ) {
    self.init(.environmentVariables)
    var known: [String: String] = [:]
    for layer in lower { for key in layer.values.keys { known[key.lowercased()] = key } }
    for key in schema.keys { known[key.lowercased()] = key }
    // Sorted, so that two names that differ by case only are always told alike.
    for (name, text) in environment.sorted(by: { $0.key < $1.key }) {
      guard let written = SettingKey.key(ofVariable: name, prefix: prefix) else { continue }
      let key = known[written.lowercased()] ?? schema.matchingCase(of: written)
      let conflict = values[key].map { LayerValue.conflict($0.source, name) }
      values[key] = LayerValue(.string(text), source: name, conflict: conflict)
    }
    gatherElements(schema: schema, known: known)
  }

  /// Makes `List:0`, `List:1` the elements of `List`, where the schema has that as a list.
  private mutating func gatherElements(schema: ConfigurationSchema, known: [String: String]) {
    var elements: [String: [Int: (key: String, value: LayerValue)]] = [:]
    var conflicts: [String: String] = [:]
    for (key, value) in values.sorted(by: { $0.key < $1.key }) {
      guard let separator = key.lastIndex(of: SettingKey.separator),
        let index = Int(key[key.index(after: separator)...]), index >= 0
      else { continue }
      let list = known[key[..<separator].lowercased()] ?? String(key[..<separator])
      guard schema.rule(for: list)?.type == .list else { continue }
      if let first = elements[list]?[index] {
        values[first.key] = nil
        // All secrets of a store have its name as their source.
        conflicts[list] =
          first.value.source == value.source
          ? LayerValue.conflict(first.key, key)
          : LayerValue.conflict(first.value.source, value.source)
      }
      elements[list, default: [:]][index] = (key, value)
    }
    for (list, parts) in elements where values[list] == nil {
      let sorted = parts.sorted { $0.key < $1.key }
      var sources: [String] = []
      for part in sorted {
        values[part.value.key] = nil
        if !sources.contains(part.value.value.source) { sources.append(part.value.value.source) }
      }
      values[list] = LayerValue(
        .list(sorted.map { $0.value.value.value.json }),
        source: sources.joined(separator: ", "),
        isSensitive: sorted.contains { $0.value.value.isSensitive },
        conflict: conflicts[list] ?? sorted.lazy.compactMap { $0.value.value.conflict }.first)
    }
  }

  /// The layer of texts by key, as secret stores give them; `List:0`, `List:1` are the elements of
  /// what the schema has as a list.
  package init(
    secrets: [String: String], source: String, schema: ConfigurationSchema = .open
  ) {
    self.init(
      .secretStore,
      secrets.mapValues { LayerValue(.string($0), source: source, isSensitive: true) })
    gatherElements(
      schema: schema,
      known: Dictionary(schema.keys.map { ($0.lowercased(), $0) }, uniquingKeysWith: { $1 }))
  }
}

/// Why a layer cannot be read.
package struct LayerError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A sentence: what is wrong and what to do.
  package var message: String

  package init(_ message: String) {
    self.message = message
  }

  package var description: String { message }
}

extension ConfigurationSchema {
  /// A key whose sections are written as a pattern's literal sections are, where one matches it
  /// but for case; otherwise the key itself.
  func matchingCase(of key: String) -> String {
    let parts = key.split(separator: SettingKey.separator, omittingEmptySubsequences: false)
    for rule in rules where !rule.key.isKey {
      let sections = rule.key.text.split(separator: SettingKey.separator)
      var result: [Substring] = []
      for (index, part) in parts.enumerated() {
        let section = index < sections.count ? sections[index] : "**"
        let isWildcard = section == "*" || section == "**"
        guard isWildcard || section.lowercased() == part.lowercased() else { break }
        result.append(isWildcard ? part : section)
      }
      let written = result.joined(separator: ":")
      if result.count == parts.count, rule.key.matches(written) { return written }
    }
    return key
  }
}
