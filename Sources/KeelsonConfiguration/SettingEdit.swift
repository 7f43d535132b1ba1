import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

/// What a request asks to do with one setting.
struct SettingEdit: Sendable {
  typealias API = KeelsonConfigurationV1

  enum Kind: Sendable {
    /// Set to a value; sensitive: even if the schema does not say so.
    case set(SettingValue, sensitive: Bool)
    case delete
    /// Set to what was stored once; nil: to nothing.
    case restore(API.StoredValue?)
  }

  var key: String
  var kind: Kind
  /// What the caller takes for the current etag; empty: whatever it is.
  var etag = ""
  /// The request's field that gives the value, for errors.
  var field: String
  /// The request's field that gives the etag.
  var etagField: String { field.isEmpty ? "etag" : "\(field).etag" }
  var valueField: String { field.isEmpty ? "value" : "\(field).value" }
}

extension SettingEdit {
  init(_ request: API.SetSettingRequest, names: ConfigurationNames) throws {
    try names.checkKey(request.key, field: "key")
    self.init(
      key: request.key,
      kind: .set(
        try Self.value(request.value, field: "value", limits: names.limits),
        sensitive: request.sensitive),
      etag: request.etag, field: "")
  }

  init(_ change: API.SettingChange, field: String, names: ConfigurationNames) throws {
    try names.checkKey(change.key, field: "\(field).key")
    let kind: Kind
    switch change.change {
    case .value(let value)?:
      kind = .set(
        try Self.value(value, field: "\(field).value", limits: names.limits),
        sensitive: change.sensitive)
    case .delete(true)?: kind = .delete
    case .delete(false)?, nil:
      throw RPCError.invalidArgument(
        field: field, "has neither a value nor delete = true; give one of them")
    }
    self.init(key: change.key, kind: kind, etag: change.etag, field: field)
  }

  /// The edits of a list of changes, each of another key.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT that names everything that is wrong.
  static func edits(_ changes: [API.SettingChange], names: ConfigurationNames) throws
    -> [SettingEdit]
  {
    guard changes.count <= names.limits.batch else {
      throw RPCError.invalidArgument(
        field: "changes",
        "has \(changes.count) entries; at most \(names.limits.batch) are allowed in one call")
    }
    var violations: [FieldViolation] = []
    var edits: [SettingEdit] = []
    var keys: Set<String> = []
    for (index, change) in changes.enumerated() {
      let field = "changes[\(index)]"
      do {
        let edit = try SettingEdit(change, field: field, names: names)
        if !keys.insert(edit.key).inserted {
          violations.append(
            FieldViolation(
              field: "\(field).key", description: "'\(edit.key)' is changed twice; once is enough"))
        }
        edits.append(edit)
      } catch let error as RPCError {
        guard case .badRequest(let found)? = error.details.first else { throw error }
        violations += found
      }
    }
    guard violations.isEmpty else { throw RPCError.invalidArgument(violations) }
    return edits
  }

  private static func value(
    _ message: API.SettingValue?, field: String, limits: ConfigurationLimits
  ) throws -> SettingValue {
    let value: SettingValue?
    do {
      value = try message.flatMap { try SettingValue($0) }
    } catch let error as RPCError {
      throw RPCError.invalidArgument(field: field, error.message)
    }
    guard let value else {
      throw RPCError.invalidArgument(
        field: field, "is required; to take a setting away, delete it")
    }
    if let problem = value.problem(maximumDepth: limits.valueDepth) {
      throw RPCError.invalidArgument(field: field, problem)
    }
    return value
  }
}
