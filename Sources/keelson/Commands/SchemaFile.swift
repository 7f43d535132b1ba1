import KeelsonAPI
import KeelsonClient
import KeelsonConfigurationRules
import KeelsonCore

/// A schema as a JSON file has it, which `keelson config schema get --output json` prints as well:
///
/// ```json
/// {"closed": true, "rules": [{"key": "Server:Port", "type": "integer", "minimum": 1}]}
/// ```
enum SchemaFile {
  typealias API = KeelsonConfigurationV1

  /// - Throws: ``UsageError`` that names the rule and what is wrong with it.
  static func schema(_ json: JSONValue, application: String) throws -> API.Schema {
    guard case .object(let members) = json, case .array(let rules)? = members["rules"] else {
      throw UsageError("A schema is {\"closed\": true, \"rules\": [...]}.")
    }
    var schema = API.Schema(application: application)
    for (name, value) in members where name != "rules" {
      switch (name, value) {
      case ("closed", .bool(let closed)): schema.closed = closed
      case ("etag", .string(let etag)): schema.etag = etag
      case ("application", _), ("revision", _), ("updateTime", _), ("update_time", _): continue
      default: throw UsageError("A schema has no \(name) like that; it has closed, etag and rules.")
      }
    }
    schema.rules = try rules.enumerated().map { try rule($0.element, "rules[\($0.offset)]") }
    return schema
  }

  private static func rule(_ json: JSONValue, _ place: String) throws -> API.SettingRule {
    guard case .object(let members) = json else {
      throw UsageError("\(place) has to be an object, {\"key\": \"Port\", \"type\": \"integer\"}.")
    }
    var rule = API.SettingRule()
    // What is not set stands as null where the API's own JSON was printed.
    for (name, value) in members where value != .null {
      switch (name, value) {
      case ("key", .string(let text)): rule.key = text
      case ("type", .string(let text)): rule.type = try type(text, place)
      case ("required", .bool(let flag)): rule.required = flag
      case ("sensitive", .bool(let flag)): rule.sensitive = flag
      case ("description", .string(let text)): rule.description = text
      case ("pattern", .string(let text)): rule.pattern = text
      case ("format", .string(let text)): rule.format = try format(text, place)
      case ("default", _), ("default_value", _), ("defaultValue", _):
        rule.defaultValue = try self.value(value, "\(place).\(name)")
      case ("minimum", _): rule.minimum = try self.value(value, "\(place).\(name)")
      case ("maximum", _): rule.maximum = try self.value(value, "\(place).\(name)")
      case ("minimum_length", .number(let number)), ("minimumLength", .number(let number)):
        rule.minimumLength = Int32(exactly: number) ?? -1
      case ("maximum_length", .number(let number)), ("maximumLength", .number(let number)):
        rule.maximumLength = Int32(exactly: number) ?? -1
      case ("allowed_values", .array(let values)), ("allowedValues", .array(let values)):
        rule.allowedValues = try values.enumerated().map {
          try self.value($0.element, "\(place).\(name)[\($0.offset)]")
        }
      default:
        let known = [
          "key", "type", "required", "default", "format", "minimum", "maximum",
          "minimum_length", "maximum_length", "pattern", "allowed_values", "sensitive",
          "description",
        ]
        throw UsageError(
          "\(place).\(name) is not known or of another kind"
            + NearestWord.suggestion(for: name, among: known) + ".")
      }
    }
    return rule
  }

  /// A value as it stands, or as the API's own JSON has it: `{"integer_value": 1}`, and in the
  /// names of protobuf's `{"integerValue": "1"}`.
  ///
  /// - Throws: ``UsageError`` for what is no value: a rule is never dropped in silence.
  private static func value(_ json: JSONValue, _ place: String) throws -> API.SettingValue {
    if case .object(let members) = json, members.count == 1, let member = members.first,
      let kind = kinds[member.key.replacing("_", with: "").lowercased()]
    {
      if let value = SettingValue(member.value, as: kind) { return value.message }
    } else if let value = SettingValue(json) {
      return value.message
    }
    throw UsageError("\(place) is \(json.text), which is no value of a setting.")
  }

  /// By the names of the fields of `SettingValue`.
  private static let kinds: [String: SettingType] = [
    "booleanvalue": .boolean, "integervalue": .integer, "numbervalue": .number,
    "stringvalue": .string, "durationvalue": .duration, "listvalue": .list, "objectvalue": .object,
  ]

  private static func type(_ text: String, _ place: String) throws -> API.SettingType {
    let word = text.lowercased().replacing("setting_type_", with: "")
    switch SettingType(rawValue: word) {
    case .boolean: return .boolean
    case .integer: return .integer
    case .number: return .number
    case .string: return .string
    case .duration: return .duration
    case .size: return .size
    case .list: return .list
    case .object: return .object
    case nil where word == "unspecified": return .unspecified
    case nil:
      throw UsageError(
        "\(place).type is '\(text)'; it is one of "
          + SettingType.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
  }

  private static func format(_ text: String, _ place: String) throws -> API.SettingFormat {
    let word = text.lowercased().replacing("setting_format_", with: "").replacing("_", with: "-")
    switch SettingFormat(rawValue: word) {
    case .uri: return .uri
    case .host: return .host
    case .hostAndPort: return .hostAndPort
    case .email: return .email
    case .date: return .date
    case .dateTime: return .dateTime
    case .uuid: return .uuid
    case .ipAddress: return .ipAddress
    case .json: return .json_
    case .base64: return .base64
    case nil where word == "unspecified": return .unspecified
    case nil:
      throw UsageError(
        "\(place).format is '\(text)'; it is one of "
          + SettingFormat.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
  }
}

extension SettingValue {
  /// A value of a kind that is said, as the API's own JSON has it: a large integer as text, a
  /// duration as its text.
  fileprivate init?(_ json: JSONValue, as kind: SettingType) {
    switch (kind, json) {
    case (.integer, .string(let text)), (.duration, .string(let text)):
      guard let value = SettingValue(text: text, as: kind) else { return nil }
      self = value
    case (.number, .number(let value)): self = .number(value)
    case (.string, .string), (.boolean, .bool), (.integer, .number), (.list, .array),
      (.object, .object):
      guard let value = SettingValue(json) else { return nil }
      self = value
    default: return nil
    }
  }
}
