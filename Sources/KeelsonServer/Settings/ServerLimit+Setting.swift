import KeelsonConfigurationRules
import KeelsonCore

extension ServerLimit {
  /// The limit as a setting, `Limits:connections`.
  var rule: SettingRule {
    guard let key = KeyPattern(SettingName.limit(name)) else {
      preconditionFailure("The names of limits are written in this room, and are well formed.")
    }
    let type: SettingType =
      switch place {
      case .count: .integer
      case .size: .size
      case .duration: .duration
      // `off`, or a duration.
      case .optionalDuration: .string
      }
    return SettingRule(
      key: key, type: type, defaultValue: SettingValue(text: defaultText, as: type),
      minimum: bound(range.lowerBound), maximum: bound(range.upperBound),
      description: "The limit of \(what). Beyond it: \(beyond).")
  }

  private func bound(_ number: Int) -> SettingValue? {
    switch place {
    case .count, .size: .integer(Int64(number))
    case .duration: .duration(.milliseconds(number))
    case .optionalDuration: nil
    }
  }

  /// Gives the limits the value of a setting that the schema has let through.
  ///
  /// - Throws: INVALID_ARGUMENT that says what would be right, for what the schema cannot say.
  func set(_ value: SettingValue, in limits: inout ServerLimits) throws(RPCError) {
    switch (place, value) {
    case (.count, .integer(let number)), (.size, .integer(let number)):
      try set(String(number), in: &limits)
    case (.duration(let path), .duration(let duration)): limits[keyPath: path] = duration
    default: try set(value.text, in: &limits)
    }
  }
}
