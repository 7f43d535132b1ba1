import KeelsonAPI
import KeelsonCore
import KeelsonFlagRules

// The messages of keelson.flags.v1 are plain values: they serve as the domain's types, and as the
// stored form. docs/decisions/0002-messages-are-the-domain.md says why.

extension KeelsonFlagsV1.FlagType {
  /// The type a variant's value has; nil for null and arrays, which no flag can have.
  init?(of value: JSONValue) {
    switch value {
    case .bool: self = .boolean
    case .string: self = .string
    case .number: self = .number
    case .object: self = .object
    case .null, .array: return nil
    }
  }

  /// The type in a sentence.
  var word: String {
    switch self {
    case .unspecified: "unspecified"
    case .boolean: "boolean"
    case .string: "string"
    case .number: "number"
    case .object: "object"
    case .unrecognized(let number): "unknown (\(number))"
    }
  }
}

extension KeelsonFlagsV1.Flag {
  /// The flag as it is created from a request: set name, type and, for a boolean flag, variants
  /// filled in where they were left out, and what only the server sets taken away.
  func normalizedForCreation() throws -> KeelsonFlagsV1.Flag {
    var flag = self
    flag.flagSet = flag.flagSet.isEmpty ? defaultFlagSet : flag.flagSet
    flag.archiveTime = nil
    flag.unknownFields = .init()
    if case .unrecognized(let number) = flag.type {
      throw RPCError.invalidArgument(
        field: "flag.type",
        "\(number) is not a type; use FLAG_TYPE_BOOLEAN, _STRING, _NUMBER or _OBJECT")
    }
    if flag.type == .unspecified {
      flag.type =
        flag.variants.min { $0.key < $1.key }.flatMap { .init(of: $0.value.json) } ?? .boolean
    }
    if flag.variants.isEmpty {
      guard flag.type == .boolean else {
        throw RPCError.invalidArgument(
          field: "flag.variants", "is required for a flag of type \(flag.type.word)")
      }
      flag.variants = [
        "on": GoogleProtobuf.Value(.bool(true)), "off": GoogleProtobuf.Value(.bool(false)),
      ]
    }
    return flag
  }

  /// The state a flag starts with in an environment it had none in: what an admin means who just
  /// switches it on.
  func initialState() -> KeelsonFlagsV1.FlagState {
    var state = KeelsonFlagsV1.FlagState()
    if type == .boolean, variants["on"]?.json == .bool(true) {
      state.defaultVariant = "on"
    } else if variants.count == 1, let only = variants.first {
      state.defaultVariant = only.key
    }
    return state
  }

  /// What an evaluator needs of the flag in one environment.
  func rules(in environment: String) -> KeelsonFlagsV1.FlagRules {
    let state = environments[environment] ?? KeelsonFlagsV1.FlagState()
    var rules = KeelsonFlagsV1.FlagRules()
    rules.key = key
    rules.type = type
    rules.enabled = state.enabled
    rules.variants = variants
    rules.defaultVariant = state.defaultVariant
    rules.targeting = state.targeting
    rules.metadata = metadata
    rules.revision = revision
    return rules
  }

  /// The segments that its targeting uses, in any environment.
  var segments: Set<String> {
    Set(
      environments.values.flatMap { state -> [String] in
        guard !state.targeting.isEmpty else { return [] }
        // What does not parse uses nothing, and is refused elsewhere.
        return (try? FlagRuleSet.referencedSegments(inTargeting: state.targeting)) ?? []
      })
  }
}

extension FlagDefinition {
  init(_ rules: KeelsonFlagsV1.FlagRules) {
    self.init(
      key: rules.key, type: FlagValueType(rules.type), isEnabled: rules.enabled,
      variants: rules.variants.mapValues(\.json),
      defaultVariant: rules.defaultVariant.isEmpty ? nil : rules.defaultVariant,
      targeting: rules.targeting.isEmpty ? nil : rules.targeting,
      metadata: rules.metadata?.object ?? [:], revision: rules.revision)
  }
}

extension FlagValueType {
  init(_ type: KeelsonFlagsV1.FlagType) {
    switch type {
    case .string: self = .string
    case .number: self = .number
    case .object: self = .object
    case .boolean, .unspecified, .unrecognized: self = .boolean
    }
  }
}

extension Bucketing {
  init(_ bucketing: KeelsonFlagsV1.Bucketing) {
    self = bucketing == .v2 ? .v2 : .v3
  }
}

/// The set that an empty name means, and that is always there.
let defaultFlagSet = "default"
