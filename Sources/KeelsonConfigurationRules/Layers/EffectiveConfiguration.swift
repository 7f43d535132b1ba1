/// What an application's settings are: of all layers the highest value of each key.
package struct EffectiveConfiguration: Sendable, Hashable {
  package struct Setting: Sendable, Hashable {
    /// Of the type that the schema has for it.
    package var value: SettingValue
    package var layer: ConfigurationLayer
    package var source: String
    package var isSensitive: Bool
  }

  package var settings: [String: Setting]

  package init(settings: [String: Setting] = [:]) {
    self.settings = settings
  }

  package subscript(key: String) -> SettingValue? { settings[key]?.value }

  /// Merges layers and checks them: each value in each layer, and that nothing required is
  /// missing. Every violation is told, in the order of keys and layers, up to some megabytes of
  /// them.
  ///
  /// A value that breaks a rule is no part of the outcome; a lower layer's shows instead.
  ///
  /// - Parameters:
  ///   - layers: in any order; ``ConfigurationLayer/defaults`` come from the schema.
  ///   - elsewhere: keys that have a value which is not handed in, so that none is missing there.
  ///   - maximumValueBytes: the UTF-8 bytes that a value's text may have.
  ///   - budget: what the checks may take, with those of others.
  package static func merging(
    _ layers: [LayerValues], schema: ConfigurationSchema, elsewhere: Set<String> = [],
    maximumValueBytes: Int = 512 << 10, budget: ValidationBudget = ValidationBudget()
  ) -> (configuration: EffectiveConfiguration, violations: [ConfigurationViolation]) {
    var settings: [String: Setting] = [:]
    var violations: [ConfigurationViolation] = []
    for rule in schema.rules {
      guard let value = rule.defaultValue?.converted(to: rule.type, readsText: true) else {
        continue
      }
      settings[rule.key.text] = Setting(
        value: value, layer: .defaults, source: "", isSensitive: rule.isSensitive)
    }
    var found = elsewhere
    let secrets = Set(
      layers.flatMap { layer in layer.values.filter(\.value.isSensitive).map(\.key) })
    var bytes = 0
    for layer in layers.sorted(by: { $0.layer < $1.layer }) {
      for (key, given) in layer.values {
        found.insert(key)
        var given = given
        // What is a secret in one layer is one in all.
        if secrets.contains(key) { given.isSensitive = true }
        switch schema.check(
          key, given, in: layer.layer, maximumValueBytes: maximumValueBytes, budget: budget)
        {
        case .success(let setting): settings[key] = setting
        case .failure(let failure):
          guard bytes < ValidationBudget.maximumViolationBytes else { continue }
          bytes += failure.violations.reduce(0) { $0 + $1.byteCount }
          violations += failure.violations
        }
      }
    }
    for rule in schema.rules
    where rule.isRequired && rule.key.isKey && settings[rule.key.text] == nil
      && !found.contains(rule.key.text)
    {
      violations.append(
        ConfigurationViolation(
          key: rule.key.text, layer: .api, rule: .required,
          message: "is required and no layer gives it; set it to \(rule.type.phrase)"))
    }
    violations.sort { ($0.key, $0.layer, $0.rule.rawValue) < ($1.key, $1.layer, $1.rule.rawValue) }
    return (EffectiveConfiguration(settings: settings), violations)
  }
}

/// Everything that is wrong with one value.
package struct ViolationList: Error, Sendable, Hashable {
  package var violations: [ConfigurationViolation]
}

extension ConfigurationSchema {
  /// Checks one value of one layer, and gives it the type of its rule.
  package func check(
    _ key: String, _ given: LayerValue, in layer: ConfigurationLayer,
    maximumValueBytes: Int = 512 << 10, budget: ValidationBudget = ValidationBudget()
  ) -> Result<EffectiveConfiguration.Setting, ViolationList> {
    func violation(_ rule: ConfigurationViolation.Rule, _ message: String) -> ViolationList {
      ViolationList(violations: [
        ConfigurationViolation(
          key: key, layer: layer, source: given.source, rule: rule, message: message)
      ])
    }
    if let problem = SettingKey.problem(of: key) { return .failure(violation(.keyForm, problem)) }
    if let conflict = given.conflict { return .failure(violation(.duplicate, conflict)) }
    guard budget.take(stepsPerKey) else { return .failure(violation(.steps, budget.message)) }
    let byteCount = given.value.byteCount
    guard byteCount <= maximumValueBytes else {
      return .failure(
        violation(.size, "has \(byteCount) bytes; at most \(maximumValueBytes) are allowed"))
    }
    if let whole = wholeAncestor(of: key) {
      return .failure(
        violation(.section, "lies within '\(whole)', which is one value; set '\(whole)' as a whole")
      )
    }
    let isSensitive = given.isSensitive || self.isSensitive(key)
    guard let rule = rule(for: key) else {
      guard !isClosed || isUnread(key) else {
        let suggestion = budget.takeSuggestion() ? suggestion(for: key) : ""
        return .failure(
          violation(
            .knownKey,
            "is not known to the schema\(suggestion); correct it or add it to the schema"))
      }
      return .success(
        .init(value: given.value, layer: layer, source: given.source, isSensitive: isSensitive))
    }
    guard let value = given.value.converted(to: rule.type, readsText: layer.hasTextOnly) else {
      return .failure(
        violation(.type, rule.wrongType(given, in: layer, isSensitive: isSensitive)))
    }
    let broken = rule.violations(
      of: value, key: key, layer: layer, source: given.source, isSensitive: isSensitive,
      budget: budget)
    guard broken.isEmpty else { return .failure(ViolationList(violations: broken)) }
    return .success(
      .init(value: value, layer: layer, source: given.source, isSensitive: isSensitive))
  }
}
