/// What kind of value a setting has.
public enum SettingType: String, Sendable, Hashable, CaseIterable {
  case boolean, integer, number, string
  /// A length of time; text such as `250ms`, `1h30m` or `00:05:00`.
  case duration
  /// A number of bytes; text such as `500`, `64KiB` or `4MiB`.
  case size
  case list
  /// A JSON object, taken as a whole.
  case object

  /// The type in a sentence, with what a value of it looks like.
  package var phrase: String {
    switch self {
    case .boolean: "a boolean (true or false)"
    case .integer: "a whole number"
    case .number: "a number"
    case .string: "a string"
    case .duration: "a duration such as 250ms, 30s or 1h30m"
    case .size: "a size in bytes such as 500, 64KiB or 4MiB"
    case .list: "a list"
    case .object: "a JSON object"
    }
  }
}
