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
    for (name, value) in members {
      switch (name, value) {
      case ("key", .string(let text)): rule.key = text
      case ("type", .string(let text)): rule.type = try type(text, place)
      case ("required", .bool(let flag)): rule.required = flag
      case ("sensitive", .bool(let flag)): rule.sensitive = flag
      case ("description", .string(let text)): rule.description = text
      case ("pattern", .string(let text)): rule.pattern = text
      case ("format", .string(let text)): rule.format = try format(text, place)
      case ("default", _), ("default_value", _), ("defaultValue", _):
        rule.defaultValue = self.value(value)
      case ("minimum", _): rule.minimum = self.value(value)
      case ("maximum", _): rule.maximum = self.value(value)
      case ("minimum_length", .number(let number)), ("minimumLength", .number(let number)):
        rule.minimumLength = Int32(exactly: number) ?? -1
      case ("maximum_length", .number(let number)), ("maximumLength", .number(let number)):
        rule.maximumLength = Int32(exactly: number) ?? -1
      case ("allowed_values", .array(let values)), ("allowedValues", .array(let values)):
        rule.allowedValues = values.compactMap { self.value($0) }
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

  /// A value as it stands, or as the API's own JSON has it: `{"integerValue": "1"}`.
  private static func value(_ json: JSONValue) -> API.SettingValue? {
    if case .object(let members) = json, members.count == 1, let member = members.first {
      switch (member.key, member.value) {
      case ("integerValue", .string(let text)):
        return Int64(text).map { SettingValue.integer($0).message }
      case ("durationValue", .string(let text)):
        return DurationText.duration(text).map { SettingValue.duration($0).message }
      case ("booleanValue", let value), ("numberValue", let value), ("stringValue", let value),
        ("listValue", let value), ("objectValue", let value):
        return SettingValue(value)?.message
      default: break
      }
    }
    return SettingValue(json)?.message
  }

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
    case nil:
      throw UsageError(
        "\(place).format is '\(text)'; it is one of "
          + SettingFormat.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
  }
}
