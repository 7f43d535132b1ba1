import KeelsonCore

extension SettingRule {
  /// What a value of the wrong type is told.
  func wrongType(_ given: LayerValue, in layer: ConfigurationLayer, isSensitive: Bool) -> String {
    if case .number(let number) = given.value, type == .integer, number == number.rounded() {
      return "is a number beyond what JSON holds exactly (2^53); set it as text in an environment "
        + "variable or through the API"
    }
    let shown = isSensitive ? given.value.kind : "\(given.value.kind), \(Self.shown(given.value))"
    return "has to be \(type.phrase), but is \(shown)"
  }

  /// Every way in which a value of the right type breaks the rule.
  func violations(
    of value: SettingValue, key: String, layer: ConfigurationLayer, source: String = "",
    isSensitive: Bool = false, budget: ValidationBudget = ValidationBudget()
  ) -> [ConfigurationViolation] {
    var violations: [ConfigurationViolation] = []
    func note(_ rule: ConfigurationViolation.Rule, _ message: String) {
      violations.append(
        ConfigurationViolation(
          key: key, layer: layer, source: source, rule: rule, message: message))
    }
    let hidesValue = isSensitive || self.isSensitive
    func isShown(_ value: SettingValue) -> String { hidesValue ? "it" : Self.shown(value) }

    guard let value = value.converted(to: type, readsText: true) else {
      note(.type, "has to be \(type.phrase), but is \(value.kind)")
      return violations
    }
    if let minimum, value.isLess(than: minimum, as: type) {
      note(.minimum, "has to be at least \(Self.shown(minimum)); \(isShown(value)) is less")
    }
    if let maximum, maximum.isLess(than: value, as: type) {
      note(.maximum, "has to be at most \(Self.shown(maximum)); \(isShown(value)) is more")
    }
    if let length = value.length {
      let (count, unit) = length
      if let minimumLength, count < minimumLength {
        note(
          .length,
          "has to have at least \(minimumLength) \(unit)" + (hidesValue ? "" : "; it has \(count)"))
      }
      if let maximumLength, count > maximumLength {
        note(
          .length,
          "has to have at most \(maximumLength) \(unit)" + (hidesValue ? "" : "; it has \(count)"))
      }
    }
    for (part, place) in value.parts where violations.count < Self.maximumViolations {
      guard budget.take(1 + allowedValues.count) else {
        note(.steps, budget.message)
        break
      }
      if let format, !(part.string.map(format.matches) ?? false) {
        note(.format, "\(place)has to be \(format.phrase); \(isShown(part)) is not")
      }
      if let pattern {
        if let text = part.string, text.utf8.count > BoundedPattern.maximumTextBytes {
          note(
            .pattern,
            "\(place)has \(text.utf8.count) bytes; a value that is matched by a pattern may have "
              + "\(BoundedPattern.maximumTextBytes)")
        } else {
          switch part.string.map({ pattern.matches($0, within: budget) }) ?? false {
          case true?: break
          case false?:
            let shown = pattern.text.utf8.count > 200 ? "the rule's pattern" : pattern.text
            note(.pattern, "\(place)has to match \(shown); \(isShown(part)) does not")
          case nil:
            note(.steps, budget.message)
            return violations
          }
        }
      }
      if !allowedValues.isEmpty, !allows(part) {
        let known =
          hidesValue
          ? "the allowed values" : allowedValues.prefix(20).map(Self.shown).joined(separator: ", ")
        note(.allowedValues, "\(place)has to be one of \(known); \(isShown(part)) is none of them")
      }
    }
    return violations
  }

  /// So many violations of one value are told.
  private static let maximumViolations = 8

  private func allows(_ value: SettingValue) -> Bool {
    allowedValues.contains { allowed in
      allowed == value
        || (type != .list && allowed.converted(to: type, readsText: true) == value)
    }
  }

  /// A value in a sentence, cut where it is long.
  private static func shown(_ value: SettingValue) -> String {
    let text = value.text
    let cut = text.cut(toBytes: 60)
    if case .string = value { return "'\(cut)'" }
    return cut
  }
}

extension SettingValue {
  /// Whether a value of a type with an order comes before another.
  func isLess(than other: SettingValue, as type: SettingType) -> Bool {
    switch (converted(to: type, readsText: true), other.converted(to: type, readsText: true)) {
    case (.integer(let a), .integer(let b)): a < b
    case (.number(let a), .number(let b)): a < b
    case (.duration(let a), .duration(let b)): a < b
    default: false
    }
  }

  fileprivate var length: (Int, String)? {
    switch self {
    case .string(let text): (text.count, "characters")
    case .list(let elements): (elements.count, "elements")
    case .object(let members): (members.count, "members")
    case .boolean, .integer, .number, .duration: nil
    }
  }

  /// What format, pattern and allowed values are about: the value, or each element of a list.
  fileprivate var parts: [(SettingValue, place: String)] {
    guard case .list(let elements) = self else { return [(self, "")] }
    return elements.enumerated().map { index, element in
      (SettingValue(element) ?? .string("null"), "element \(index) ")
    }
  }

  fileprivate var string: String? {
    if case .string(let text) = self { return text }
    return nil
  }
}

/// ` (did you mean 'X'?)` for the known key that is near; only those of about its length are
/// compared, so that a long list costs little.
func nearestKnown(to key: String, among known: [String]) -> String {
  let length = key.utf8.count
  let reach = max(1, length / 3)
  let near = known.filter { abs($0.utf8.count - length) <= reach }
  return NearestWord.suggestion(for: key, among: Array(near.prefix(500)))
}
