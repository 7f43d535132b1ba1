public import KeelsonConfigurationRules

/// What a setting can be read as: `Bool`, `Int`, `Double`, `String`, `Duration`, `[String]`.
public protocol SettingReadable: Sendable {
  /// nil when the setting is none of these.
  init?(setting: SettingValue)
  /// What it is, in a sentence: `a whole number`.
  static var settingKind: String { get }
}

extension Bool: SettingReadable {
  public static let settingKind = "a boolean"

  public init?(setting: SettingValue) {
    guard case .boolean(let value)? = setting.converted(to: .boolean, readsText: true) else {
      return nil
    }
    self = value
  }
}

extension Int: SettingReadable {
  public static let settingKind = "a whole number or a size"

  /// Sizes are numbers of bytes.
  public init?(setting: SettingValue) {
    for type in [SettingType.integer, .size] {
      if case .integer(let value)? = setting.converted(to: type, readsText: true) {
        self = Int(value)
        return
      }
    }
    return nil
  }
}

extension Double: SettingReadable {
  public static let settingKind = "a number"

  public init?(setting: SettingValue) {
    guard case .number(let value)? = setting.converted(to: .number, readsText: true) else {
      return nil
    }
    self = value
  }
}

extension String: SettingReadable {
  public static let settingKind = "a string"

  /// A string as it is, anything else as it would be written.
  public init?(setting: SettingValue) {
    self = setting.text
  }
}

extension Duration: SettingReadable {
  public static let settingKind = "a duration"

  public init?(setting: SettingValue) {
    guard case .duration(let value)? = setting.converted(to: .duration, readsText: true) else {
      return nil
    }
    self = value
  }
}

extension [String]: SettingReadable {
  public static let settingKind = "a list"

  public init?(setting: SettingValue) {
    guard case .list(let values)? = setting.converted(to: .list, readsText: true) else {
      return nil
    }
    self = values.map { SettingValue($0)?.text ?? "" }
  }
}
