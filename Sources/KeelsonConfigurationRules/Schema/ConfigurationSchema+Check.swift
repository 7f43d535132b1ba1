extension ConfigurationSchema {
  /// What is wrong with a schema itself.
  package struct Problem: Sendable, Hashable {
    /// The rule's place in the schema, and which of its members: `rules[3].minimum`.
    package var field: String
    /// What is wrong and what would be right, a clause.
    package var message: String
  }

  /// Everything that is wrong with the rules; empty when values can be checked by them.
  package func problems() -> [Problem] {
    var problems: [Problem] = []
    var seen: Set<String> = []
    for (index, rule) in rules.enumerated() {
      if !seen.insert(rule.key.text).inserted {
        problems.append(
          Problem(field: "rules[\(index)].key", message: "'\(rule.key.text)' stands twice"))
      }
      if rule.key.isKey, let whole = wholeAncestor(of: rule.key.text) {
        problems.append(
          Problem(
            field: "rules[\(index)].key",
            message: "'\(rule.key.text)' lies within '\(whole)', which is one value as a whole"))
      }
      problems += rule.problems().map {
        Problem(field: "rules[\(index)].\($0.field)", message: $0.message)
      }
    }
    return problems
  }
}

extension SettingRule {
  fileprivate func problems() -> [ConfigurationSchema.Problem] {
    var problems: [ConfigurationSchema.Problem] = []
    func note(_ field: String, _ message: String) {
      problems.append(.init(field: field, message: message))
    }
    let isOrdered = [.integer, .number, .duration, .size].contains(type)
    for (field, bound) in [("minimum", minimum), ("maximum", maximum)] {
      guard let bound else { continue }
      if !isOrdered {
        note(field, "is for numbers, durations and sizes; '\(key.text)' is \(type.phrase)")
      } else if bound.converted(to: type, readsText: true) == nil {
        note(field, "has to be \(type.phrase), as '\(key.text)' is")
      }
    }
    if let minimum, let maximum, maximum.isLess(than: minimum, as: type) {
      note("maximum", "is less than the minimum")
    }
    let hasLength = [.string, .list, .object].contains(type)
    for (field, length) in [("minimum_length", minimumLength), ("maximum_length", maximumLength)] {
      guard let length else { continue }
      if !hasLength {
        note(field, "is for strings, lists and objects; '\(key.text)' is \(type.phrase)")
      } else if length < 0 {
        note(field, "is negative")
      }
    }
    if let minimumLength, let maximumLength, maximumLength < minimumLength {
      note("maximum_length", "is less than the minimum length")
    }
    for (field, isThere) in [("format", format != nil), ("pattern", pattern != nil)]
    where isThere && type != .string && type != .list {
      note(field, "is for strings and lists of strings; '\(key.text)' is \(type.phrase)")
    }
    for (index, value) in allowedValues.enumerated()
    where type != .list && value.converted(to: type, readsText: true) == nil {
      note("allowed_values[\(index)]", "has to be \(type.phrase), as '\(key.text)' is")
    }
    if isRequired, !key.isKey {
      note("required", "is for one key; '\(key.text)' stands for any number of them")
    }
    if let defaultValue {
      if !key.isKey {
        note("default_value", "is for one key; '\(key.text)' stands for any number of them")
      } else if isSensitive {
        note("default_value", "would show a secret; leave it away and require the setting instead")
      } else if problems.isEmpty {
        for violation in self.violations(of: defaultValue, key: key.text, layer: .defaults) {
          note("default_value", violation.message)
        }
      }
    }
    return problems
  }
}
