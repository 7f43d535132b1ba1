import KeelsonConfigurationRules
import KeelsonCore

/// How applications, environments, snapshots and keys may be called.
///
/// Every function throws `RPCError` INVALID_ARGUMENT with the field's path in the request.
struct ConfigurationNames: Sendable {
  let limits: ConfigurationLimits

  /// Letters, digits, `.`, `_` and `-`, a letter or digit first.
  func check(_ name: String, field: String) throws {
    guard !name.isEmpty else { throw RPCError.invalidArgument(field: field, "is required") }
    guard name.utf8.count <= limits.nameBytes else {
      throw RPCError.invalidArgument(
        field: field, "has \(name.utf8.count) bytes; at most \(limits.nameBytes) are allowed")
    }
    var isFirst = true
    for byte in name.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: break
      case 0x2D where !isFirst, 0x2E where !isFirst, 0x5F where !isFirst: break
      default:
        throw RPCError.invalidArgument(
          field: field,
          "'\(name)' must consist of letters, digits, '.', '_' and '-', a letter or digit first")
      }
      isFirst = false
    }
  }

  func checkKey(_ key: String, field: String) throws {
    if let problem = SettingKey.problem(of: key, maximumBytes: limits.keyBytes) {
      throw RPCError.invalidArgument(field: field, problem)
    }
  }

  func checkDescription(_ text: String, field: String) throws {
    guard text.utf8.count <= limits.descriptionBytes else {
      throw RPCError.invalidArgument(
        field: field,
        "has \(text.utf8.count) bytes; at most \(limits.descriptionBytes) are allowed")
    }
  }
}
