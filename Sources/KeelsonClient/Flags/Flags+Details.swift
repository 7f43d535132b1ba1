public import KeelsonCore
public import KeelsonFlagRules

// Evaluation with the variant, the reason and what went wrong.

extension Flags {
  /// A boolean flag for a context, and why it is what it is.
  public func boolDetails(
    _ key: String, default defaultValue: Bool, context: EvaluationContext = .empty
  ) -> FlagDetails<Bool> {
    details(key, as: .boolean, default: defaultValue, context: context) { $0.bool }
  }

  /// A string flag for a context, and why it is what it is.
  public func stringDetails(
    _ key: String, default defaultValue: String, context: EvaluationContext = .empty
  ) -> FlagDetails<String> {
    details(key, as: .string, default: defaultValue, context: context) { $0.string }
  }

  /// A number flag for a context, and why it is what it is.
  public func numberDetails(
    _ key: String, default defaultValue: Double, context: EvaluationContext = .empty
  ) -> FlagDetails<Double> {
    details(key, as: .number, default: defaultValue, context: context) { $0.number }
  }

  /// A number flag for a context as a whole number, and why it is what it is. A value with a
  /// fraction, or too large for an `Int`, is a TYPE_MISMATCH.
  public func integerDetails(
    _ key: String, default defaultValue: Int, context: EvaluationContext = .empty
  ) -> FlagDetails<Int> {
    details(key, as: .number, default: defaultValue, context: context) {
      $0.number.flatMap(Int.init(exactly:))
    }
  }

  /// An object flag for a context, and why it is what it is.
  public func objectDetails(
    _ key: String, default defaultValue: JSONValue, context: EvaluationContext = .empty
  ) -> FlagDetails<JSONValue> {
    details(key, as: .object, default: defaultValue, context: context) {
      $0.object.map(JSONValue.object)
    }
  }

  private func details<Value>(
    _ key: String, as type: FlagValueType, default defaultValue: Value,
    context: EvaluationContext, value: (FlagEvaluation) -> Value?
  ) -> FlagDetails<Value> {
    guard let rules else {
      return FlagDetails(
        value: defaultValue, variant: nil, reason: .notReady, errorCode: .notReady,
        errorMessage: "no flags have arrived from the server yet", metadata: [:], revision: 0)
    }
    let evaluation = rules.set.evaluate(key, as: type, context: merged(context))
    if evaluation.value != nil, value(evaluation) == nil {
      return FlagDetails(
        value: defaultValue, variant: nil, reason: .error, errorCode: .typeMismatch,
        errorMessage: "flag \"\(key)\" was asked for as a whole number, but its value is none",
        metadata: evaluation.metadata, revision: rules.revision)
    }
    return FlagDetails(
      value: value(evaluation) ?? defaultValue, variant: evaluation.variant,
      reason: FlagReason(rawValue: evaluation.reason.rawValue),
      errorCode: evaluation.errorCode.map { FlagErrorCode(rawValue: $0.rawValue) },
      errorMessage: evaluation.errorMessage, metadata: evaluation.metadata,
      revision: rules.revision)
  }
}
