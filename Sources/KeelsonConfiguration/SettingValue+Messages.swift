import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

extension SettingValue {
  /// The value of a message; nil when no kind is set.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT for a duration that protobuf does not allow.
  init?(_ message: KeelsonConfigurationV1.SettingValue) throws {
    switch message.kind {
    case nil: return nil
    case .booleanValue(let value): self = .boolean(value)
    case .integerValue(let value): self = .integer(value)
    case .numberValue(let value): self = .number(value)
    case .stringValue(let value): self = .string(value)
    case .durationValue(let value): self = .duration(try value.duration)
    case .listValue(let value): self = .list(value.array)
    case .objectValue(let value): self = .object(value.object)
    }
  }

  var message: KeelsonConfigurationV1.SettingValue {
    let kind: KeelsonConfigurationV1.SettingValue.Kind =
      switch self {
      case .boolean(let value): .booleanValue(value)
      case .integer(let value): .integerValue(value)
      case .number(let value): .numberValue(value)
      case .string(let value): .stringValue(value)
      case .duration(let value): .durationValue(GoogleProtobuf.Duration(value))
      case .list(let values): .listValue(GoogleProtobuf.ListValue(values))
      case .object(let members): .objectValue(GoogleProtobuf.Struct(members))
      }
    return KeelsonConfigurationV1.SettingValue(kind: kind)
  }

  /// Numbers that JSON can hold; lists and objects that do not go too deep.
  func problem(maximumDepth: Int) -> String? {
    switch self {
    case .number(let value) where !value.isFinite: "is \(value), which is no number"
    case .list(let values): Self.problem(.array(values), depth: 1, maximumDepth)
    case .object(let members): Self.problem(.object(members), depth: 1, maximumDepth)
    default: nil
    }
  }

  private static func problem(_ json: JSONValue, depth: Int, _ maximum: Int) -> String? {
    guard depth <= maximum else { return "nests deeper than \(maximum) levels" }
    switch json {
    case .number(let value) where !value.isFinite:
      return "holds \(value), which JSON does not have"
    case .array(let values):
      return values.lazy.compactMap { problem($0, depth: depth + 1, maximum) }.first
    case .object(let members):
      return members.values.lazy.compactMap { problem($0, depth: depth + 1, maximum) }.first
    default: return nil
    }
  }
}

extension KeelsonConfigurationV1.SettingValue {
  /// What stands in place of a secret.
  static let masked = KeelsonConfigurationV1.SettingValue(kind: .stringValue(maskText))
  static let maskText = "******"

  /// The value, which is known to be one of ours.
  var known: SettingValue? { try? SettingValue(self) }
}

extension ConfigurationLayer {
  var message: KeelsonConfigurationV1.Layer {
    switch self {
    case .defaults: .defaults
    case .file: .file
    case .environmentFile: .environmentFile
    case .secretStore: .secretStore
    case .environmentVariables: .environmentVariables
    case .api, .commandLine: .api
    }
  }
}

extension ConfigurationViolation {
  func message(in environment: String) -> KeelsonConfigurationV1.Violation {
    KeelsonConfigurationV1.Violation(
      key: key, layer: layer.message, source: source, rule: rule.rawValue, message: message,
      environment: environment)
  }
}
