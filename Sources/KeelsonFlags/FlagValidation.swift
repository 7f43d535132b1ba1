import KeelsonAPI
import KeelsonCore
import KeelsonFlagRules

/// The rules that a flag, a segment and a set must meet before they are stored.
///
/// Every function throws `RPCError` INVALID_ARGUMENT with the field's path in the request.
struct FlagValidation: Sendable {
  let limits: FlagLimits

  // MARK: Names

  /// Checks a key: letters, digits, `.`, `_`, `-` and `/`, a letter or digit first.
  func checkKey(_ key: String, field: String) throws {
    guard !key.isEmpty else {
      throw RPCError.invalidArgument(field: field, "is required")
    }
    guard key.utf8.count <= limits.keyBytes else {
      throw RPCError.invalidArgument(
        field: field, "has \(key.utf8.count) bytes; at most \(limits.keyBytes) are allowed")
    }
    var isFirst = true
    for byte in key.utf8 {
      let isAlphanumeric =
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
      let isPunctuation = byte == 0x2E || byte == 0x5F || byte == 0x2D || byte == 0x2F
      guard isAlphanumeric || (isPunctuation && !isFirst) else {
        throw RPCError.invalidArgument(
          field: field,
          "'\(key)' must consist of letters, digits, '.', '_', '-' and '/', "
            + "a letter or digit first")
      }
      isFirst = false
    }
  }

  /// Checks an environment's name: a key without `/` and `.`, so that it can stand in a field mask.
  func checkEnvironment(_ name: String, field: String) throws {
    try checkKey(name, field: field)
    guard name.utf8.count <= limits.environmentBytes else {
      throw RPCError.invalidArgument(
        field: field,
        "has \(name.utf8.count) bytes; at most \(limits.environmentBytes) are allowed")
    }
    guard !name.utf8.contains(where: { $0 == 0x2E || $0 == 0x2F }) else {
      throw RPCError.invalidArgument(
        field: field,
        "'\(name)' must consist of letters, digits, '_' and '-', a letter or digit first")
    }
  }

  // MARK: Whole resources

  /// Checks a flag whose type is known, without its targeting; see ``checkRules(_:in:segments:)``.
  func check(_ flag: KeelsonFlagsV1.Flag) throws {
    try all(
      { try checkKey(flag.key, field: "flag.key") },
      { try checkLength(flag.description, limits.descriptionBytes, field: "flag.description") },
      { try checkLength(flag.owner, limits.ownerBytes, field: "flag.owner") },
      { try checkTags(flag.tags) },
      { try checkVariants(flag) },
      { try checkMetadata(flag.metadata, field: "flag.metadata") },
      { try checkTime(flag.expireTime, field: "flag.expire_time") },
      { try checkSize(flag) },
      { try checkEnvironments(flag) })
  }

  /// Checks what a list is to be narrowed by.
  func check(filters request: KeelsonFlagsV1.ListFlagsRequest) throws {
    try all(
      { try checkLength(request.query, limits.queryBytes, field: "query") },
      { try checkLength(request.owner, limits.ownerBytes, field: "owner") },
      {
        guard request.tags.count <= limits.tags else {
          throw RPCError.invalidArgument(
            field: "tags",
            "has \(request.tags.count) entries; at most \(limits.tags) are allowed")
        }
      })
  }

  func check(_ segment: KeelsonFlagsV1.Segment) throws {
    try all(
      { try checkKey(segment.key, field: "segment.key") },
      {
        try checkLength(
          segment.description, limits.descriptionBytes, field: "segment.description")
      },
      { try checkCondition(segment) })
  }

  func check(_ set: KeelsonFlagsV1.FlagSet) throws {
    try all(
      { try checkKey(set.key, field: "flag_set.key") },
      { try checkLength(set.description, limits.descriptionBytes, field: "flag_set.description") },
      { try checkMetadata(set.metadata, field: "flag_set.metadata") },
      { try checkBucketing(set.bucketing) })
  }

  /// Compiles the targeting of every environment as an evaluator would.
  func checkRules(
    _ flag: KeelsonFlagsV1.Flag, segments: [String: JSONValue]
  ) throws {
    for (name, state) in flag.environments.sorted(by: { $0.key < $1.key }) {
      let field = "flag.environments[\"\(name)\"].targeting"
      try checkLength(state.targeting, limits.targetingBytes, field: field)
      guard !state.targeting.isEmpty else { continue }
      do {
        try FlagRuleSet.validate(FlagDefinition(flag.rules(in: name)), segments: segments)
      } catch {
        throw RPCError.invalidArgument(field: field, "\(error)")
      }
    }
  }

  /// Runs every check and throws what all of them found together, so that a caller can mend all
  /// of it at once.
  private func all(_ checks: () throws -> Void...) throws {
    var violations: [FieldViolation] = []
    for check in checks {
      do {
        try check()
      } catch let error as RPCError {
        guard case .badRequest(let found)? = error.details.first else { throw error }
        violations += found
      }
    }
    guard violations.isEmpty else {
      throw RPCError(
        .invalidArgument,
        violations.map { "\($0.field): \($0.description)" }.joined(separator: "; "),
        details: [.badRequest(violations)])
    }
  }

  // MARK: Parts

  private func checkEnvironments(_ flag: KeelsonFlagsV1.Flag) throws {
    guard flag.environments.count <= limits.environments else {
      throw RPCError.invalidArgument(
        field: "flag.environments",
        "has \(flag.environments.count) entries; at most \(limits.environments) are allowed")
    }
    for (name, state) in flag.environments.sorted(by: { $0.key < $1.key }) {
      try checkEnvironment(name, field: "flag.environments")
      let variant = state.defaultVariant
      guard variant.isEmpty || flag.variants[variant] != nil else {
        throw RPCError.invalidArgument(
          field: "flag.environments[\"\(name)\"].default_variant",
          "'\(variant)' is not a variant of the flag; it has \(Self.list(flag.variants.keys))")
      }
    }
  }

  private func checkSize(_ flag: KeelsonFlagsV1.Flag) throws {
    let count = flag.encoded().count
    guard count <= limits.flagBytes else {
      throw RPCError.invalidArgument(
        field: "flag", "has \(count) bytes in all; at most \(limits.flagBytes) are allowed")
    }
  }

  /// A number that JSON can hold, lists and objects that do not go too deep.
  private func checkValue(_ value: JSONValue, depth: Int = 0, field: String) throws {
    switch value {
    case .number(let number) where !number.isFinite:
      throw RPCError.invalidArgument(field: field, "holds \(number), which JSON does not have")
    case .array(let values):
      for value in values { try checkValue(value, depth: depth + 1, field: field) }
    case .object(let members):
      for value in members.values { try checkValue(value, depth: depth + 1, field: field) }
    case .null, .bool, .number, .string: break
    }
    guard depth <= limits.variantDepth else {
      throw RPCError.invalidArgument(
        field: field, "nests deeper than \(limits.variantDepth) levels")
    }
  }

  private func checkTime(_ time: GoogleProtobuf.Timestamp?, field: String) throws {
    guard let time, (try? time.unixTime) == nil else { return }
    throw RPCError.invalidArgument(field: field, "is not a time between the years 1 and 9999")
  }

  private func checkCondition(_ segment: KeelsonFlagsV1.Segment) throws {
    let field = "segment.condition"
    try checkLength(segment.condition, limits.targetingBytes, field: field)
    guard !segment.condition.isEmpty else {
      throw RPCError.invalidArgument(
        field: field,
        "is required: a condition as JSON, {\"==\": [{\"var\": \"country\"}, \"NL\"]} for example")
    }
    do {
      try FlagRuleSet.validateSegment(segment.key, JSONValue(parsing: segment.condition))
    } catch {
      throw RPCError.invalidArgument(field: field, "\(error)")
    }
  }

  private func checkBucketing(_ bucketing: KeelsonFlagsV1.Bucketing) throws {
    guard case .unrecognized(let number) = bucketing else { return }
    throw RPCError.invalidArgument(
      field: "flag_set.bucketing",
      "\(number) is not a bucketing; use BUCKETING_V2 or BUCKETING_V3")
  }

  private func checkLength(_ text: String, _ limit: Int, field: String) throws {
    guard text.utf8.count <= limit else {
      throw RPCError.invalidArgument(
        field: field, "has \(text.utf8.count) bytes; at most \(limit) are allowed")
    }
    guard !text.utf8.contains(0) else {
      throw RPCError.invalidArgument(field: field, "holds a NUL character, which no store keeps")
    }
  }

  private func checkTags(_ tags: [String]) throws {
    guard tags.count <= limits.tags else {
      throw RPCError.invalidArgument(
        field: "flag.tags", "has \(tags.count) entries; at most \(limits.tags) are allowed")
    }
    for (index, tag) in tags.enumerated() {
      guard !tag.isEmpty else {
        throw RPCError.invalidArgument(field: "flag.tags[\(index)]", "is empty")
      }
      try checkLength(tag, limits.tagBytes, field: "flag.tags[\(index)]")
    }
  }

  private func checkVariants(_ flag: KeelsonFlagsV1.Flag) throws {
    guard (1...limits.variants).contains(flag.variants.count) else {
      throw RPCError.invalidArgument(
        field: "flag.variants",
        "has \(flag.variants.count) entries; 1 to \(limits.variants) are allowed")
    }
    for (name, value) in flag.variants.sorted(by: { $0.key < $1.key }) {
      let field = "flag.variants[\"\(name)\"]"
      guard (1...limits.keyBytes).contains(name.utf8.count) else {
        throw RPCError.invalidArgument(
          field: field,
          "the name has \(name.utf8.count) bytes; 1 to \(limits.keyBytes) are allowed")
      }
      let json = value.json
      guard let type = KeelsonFlagsV1.FlagType(of: json) else {
        throw RPCError.invalidArgument(
          field: field,
          "is \(Self.name(of: json)); a variant is a boolean, string, number or object")
      }
      guard type == flag.type else {
        throw RPCError.invalidArgument(
          field: field,
          "is \(Self.name(of: json)), but the flag's type is \(flag.type.word)")
      }
      try checkValue(json, field: field)
      try checkLength(json.text, limits.variantBytes, field: field)
    }
  }

  private func checkMetadata(_ metadata: GoogleProtobuf.Struct?, field: String) throws {
    guard let metadata else { return }
    try checkLength(JSONValue.object(metadata.object).text, limits.metadataBytes, field: field)
    for (name, value) in metadata.object {
      try checkValue(value, field: "\(field)[\"\(name)\"]")
      switch value {
      case .bool, .number, .string: continue
      case .null, .array, .object:
        throw RPCError.invalidArgument(
          field: "\(field)[\"\(name)\"]",
          "is \(Self.name(of: value)); metadata values are booleans, numbers or strings")
      }
    }
  }

  // MARK: Words

  private static func name(of value: JSONValue) -> String {
    switch value {
    case .null: "null"
    case .bool: "a boolean"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }

  static func list(_ names: some Sequence<String>) -> String {
    names.sorted().map { "'\($0)'" }.joined(separator: ", ")
  }
}
