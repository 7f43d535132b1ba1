import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

extension ConfigurationSchema {
  /// The rules of a message that were checked when it was defined. By one that does not read,
  /// because a later version wrote it, nothing is checked; what it says is a secret is one.
  init(stored schema: KeelsonConfigurationV1.Schema) {
    var rules: [SettingRule] = []
    var unread: [Unread] = []
    for message in schema.rules {
      do {
        rules.append(try SettingRule(message, field: ""))
      } catch {
        unread.append(Unread(key: KeyPattern(message.key), isSensitive: message.sensitive))
      }
    }
    self.init(rules, isClosed: schema.closed, unread: unread)
  }

  /// The rules of a message that a caller gives.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT that names everything that is wrong.
  init(checking schema: KeelsonConfigurationV1.Schema, limits: ConfigurationLimits) throws {
    var violations: [FieldViolation] = []
    if schema.rules.count > limits.rules {
      throw RPCError.invalidArgument(
        field: "schema.rules",
        "has \(schema.rules.count) entries; at most \(limits.rules) are allowed")
    }
    var rules: [SettingRule] = []
    for (index, message) in schema.rules.enumerated() {
      let field = "schema.rules[\(index)]"
      if message.description.utf8.count > limits.descriptionBytes {
        violations.append(
          FieldViolation(
            field: "\(field).description",
            description: "has \(message.description.utf8.count) bytes; at most "
              + "\(limits.descriptionBytes) are allowed"))
      }
      if message.allowedValues.count > limits.allowedValues {
        violations.append(
          FieldViolation(
            field: "\(field).allowed_values",
            description: "has \(message.allowedValues.count) entries; at most "
              + "\(limits.allowedValues) are allowed"))
      }
      do {
        rules.append(try SettingRule(message, field: field))
      } catch let error as RPCError {
        if case .badRequest(let found)? = error.details.first { violations += found }
      }
    }
    let bytes = schema.encoded().count
    if bytes > limits.schemaBytes {
      violations.append(
        FieldViolation(
          field: "schema",
          description: "has \(bytes) bytes in all; at most \(limits.schemaBytes) are allowed"))
    }
    self.init(rules, isClosed: schema.closed)
    if violations.isEmpty {
      violations = problems().map {
        FieldViolation(field: "schema.\($0.field)", description: $0.message)
      }
    }
    guard violations.isEmpty else { throw RPCError.invalidArgument(violations) }
  }
}

extension SettingRule {
  /// - Throws: `RPCError` INVALID_ARGUMENT for the first part that is none.
  fileprivate init(_ message: KeelsonConfigurationV1.SettingRule, field: String) throws {
    guard let key = KeyPattern(message.key) else {
      throw RPCError.invalidArgument(
        field: "\(field).key",
        "'\(message.key.prefix(64))' is neither a key nor a pattern of keys: sections joined by "
          + "':', '*' for any one, '**' at the end for all that follow")
    }
    guard let type = SettingType(message.type) else {
      throw RPCError.invalidArgument(
        field: "\(field).type", "is required: SETTING_TYPE_STRING for example")
    }
    var format: SettingFormat?
    if message.format != .unspecified {
      guard let known = SettingFormat(message.format) else {
        throw RPCError.invalidArgument(
          field: "\(field).format", "\(message.format.rawValue) is not a format")
      }
      format = known
    }
    var pattern: BoundedPattern?
    if !message.pattern.isEmpty {
      do throws(PatternError) {
        pattern = try BoundedPattern(message.pattern)
      } catch {
        throw RPCError.invalidArgument(field: "\(field).pattern", error.message)
      }
    }
    let values = [message.defaultValue, message.minimum, message.maximum] + message.allowedValues
    for value in values.compactMap({ $0?.known }) {
      if let problem = value.problem(maximumDepth: 32) {
        throw RPCError.invalidArgument(field: field, "a value \(problem)")
      }
    }
    self.init(
      key: key, type: type, isRequired: message.required,
      defaultValue: try message.defaultValue.flatMap { try SettingValue($0) }, format: format,
      minimum: try message.minimum.flatMap { try SettingValue($0) },
      maximum: try message.maximum.flatMap { try SettingValue($0) },
      minimumLength: message.minimumLength.map(Int.init),
      maximumLength: message.maximumLength.map(Int.init), pattern: pattern,
      allowedValues: try message.allowedValues.compactMap { try SettingValue($0) },
      isSensitive: message.sensitive, description: message.description)
  }
}

extension SettingType {
  init?(_ type: KeelsonConfigurationV1.SettingType) {
    switch type {
    case .boolean: self = .boolean
    case .integer: self = .integer
    case .number: self = .number
    case .string: self = .string
    case .duration: self = .duration
    case .size: self = .size
    case .list: self = .list
    case .object: self = .object
    case .unspecified, .unrecognized: return nil
    }
  }
}

extension SettingFormat {
  init?(_ format: KeelsonConfigurationV1.SettingFormat) {
    switch format {
    case .uri: self = .uri
    case .host: self = .host
    case .hostAndPort: self = .hostAndPort
    case .email: self = .email
    case .date: self = .date
    case .dateTime: self = .dateTime
    case .uuid: self = .uuid
    case .ipAddress: self = .ipAddress
    case .json_: self = .json
    case .base64: self = .base64
    case .unspecified, .unrecognized: return nil
    }
  }
}
