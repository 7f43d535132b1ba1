public import KeelsonCore

/// Why an evaluation gave what it gave, in OpenFeature's words.
public enum EvaluationReason: String, Sendable, Hashable, CaseIterable {
  /// The flag has no targeting: the value cannot change until the flag does, and may be cached.
  case `static` = "STATIC"
  /// Targeting chose the variant.
  case targetingMatch = "TARGETING_MATCH"
  /// Targeting did not decide, or the flag has no default variant.
  case `default` = "DEFAULT"
  case disabled = "DISABLED"
  case error = "ERROR"
}

/// What kind of failure an evaluation met, in OpenFeature's words.
public enum EvaluationErrorCode: String, Sendable, Hashable, CaseIterable {
  case flagNotFound = "FLAG_NOT_FOUND"
  /// The flag's rule does not compile.
  case parseError = "PARSE_ERROR"
  /// The caller asked for another type than the flag has.
  case typeMismatch = "TYPE_MISMATCH"
  /// The rule chose something that is no variant.
  case general = "GENERAL"
}

/// What a flag is for a context. A reference to a shared, immutable result: cheap to make, copy
/// and keep.
public struct FlagEvaluation: Sendable {
  final class Outcome: Sendable {
    let value: JSONValue?
    let variant: String?
    let reason: EvaluationReason
    let errorCode: EvaluationErrorCode?
    let errorMessage: String?
    let metadata: [String: JSONValue]
    let type: FlagValueType?

    init(
      value: JSONValue?, variant: String?, reason: EvaluationReason,
      errorCode: EvaluationErrorCode?, errorMessage: String?, metadata: [String: JSONValue],
      type: FlagValueType?
    ) {
      self.value = value
      self.variant = variant
      self.reason = reason
      self.errorCode = errorCode
      self.errorMessage = errorMessage
      self.metadata = metadata
      self.type = type
    }
  }

  let outcome: Outcome

  init(_ outcome: Outcome) {
    self.outcome = outcome
  }

  public init(
    value: JSONValue?, variant: String?, reason: EvaluationReason,
    errorCode: EvaluationErrorCode? = nil, errorMessage: String? = nil,
    metadata: [String: JSONValue] = [:], type: FlagValueType? = nil
  ) {
    outcome = Outcome(
      value: value, variant: variant, reason: reason, errorCode: errorCode,
      errorMessage: errorMessage, metadata: metadata, type: type)
  }

  /// A failed evaluation.
  public static func failure(
    _ code: EvaluationErrorCode, _ message: String, metadata: [String: JSONValue] = [:],
    type: FlagValueType? = nil
  ) -> FlagEvaluation {
    FlagEvaluation(
      value: nil, variant: nil, reason: .error, errorCode: code, errorMessage: message,
      metadata: metadata, type: type)
  }

  /// The value of the variant; nil when the caller's own default applies (disabled, no default
  /// variant, error).
  public var value: JSONValue? { outcome.value }
  /// The variant's name; nil exactly when there is no value.
  public var variant: String? { outcome.variant }
  public var reason: EvaluationReason { outcome.reason }
  /// What failed; nil unless the reason is ``EvaluationReason/error``.
  public var errorCode: EvaluationErrorCode? { outcome.errorCode }
  /// What failed, for a person; nil unless the reason is ``EvaluationReason/error``.
  public var errorMessage: String? { outcome.errorMessage }
  /// The flag's metadata laid over its set's.
  public var metadata: [String: JSONValue] { outcome.metadata }
  /// The flag's type; nil when the flag does not exist.
  public var type: FlagValueType? { outcome.type }

  /// The value when it is a boolean.
  public var bool: Bool? {
    if case .bool(let value)? = outcome.value { value } else { nil }
  }
  /// The value when it is a string.
  public var string: String? {
    if case .string(let value)? = outcome.value { value } else { nil }
  }
  /// The value when it is a number.
  public var number: Double? {
    if case .number(let value)? = outcome.value { value } else { nil }
  }
  /// The value when it is an object.
  public var object: [String: JSONValue]? {
    if case .object(let value)? = outcome.value { value } else { nil }
  }
}
