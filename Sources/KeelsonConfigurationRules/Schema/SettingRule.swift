/// What a setting, or each setting of a pattern, has to be.
package struct SettingRule: Sendable, Hashable {
  package var key: KeyPattern
  package var type: SettingType
  /// Whether some layer has to give it a value; only for a key, not for a pattern.
  package var isRequired: Bool
  /// The value where no layer gives one.
  package var defaultValue: SettingValue?
  /// For strings, and for the elements of a list of strings.
  package var format: SettingFormat?
  /// The least and greatest value of an integer, number, duration or size.
  package var minimum: SettingValue?
  package var maximum: SettingValue?
  /// Characters of a string, elements of a list, members of an object.
  package var minimumLength: Int?
  package var maximumLength: Int?
  /// What the whole of a string has to match; of each element, for a list.
  package var pattern: BoundedPattern?
  /// The values it may have; of each element, for a list. Empty: any.
  package var allowedValues: [SettingValue]
  /// Whether the value is a secret: it is stored sealed and shown masked.
  package var isSensitive: Bool
  package var description: String

  package init(
    key: KeyPattern, type: SettingType, isRequired: Bool = false,
    defaultValue: SettingValue? = nil, format: SettingFormat? = nil,
    minimum: SettingValue? = nil, maximum: SettingValue? = nil, minimumLength: Int? = nil,
    maximumLength: Int? = nil, pattern: BoundedPattern? = nil,
    allowedValues: [SettingValue] = [], isSensitive: Bool = false, description: String = ""
  ) {
    self.key = key
    self.type = type
    self.isRequired = isRequired
    self.defaultValue = defaultValue
    self.format = format
    self.minimum = minimum
    self.maximum = maximum
    self.minimumLength = minimumLength
    self.maximumLength = maximumLength
    self.pattern = pattern
    self.allowedValues = allowedValues
    self.isSensitive = isSensitive
    self.description = description
  }
}
