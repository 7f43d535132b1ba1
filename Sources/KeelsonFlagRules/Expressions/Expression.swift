import KeelsonCore

/// A compiled piece of a rule. Evaluating one never fails: what makes no sense gives null.
protocol Expression: AnyObject, Sendable {
  func value(_ frame: inout Frame) -> JSONValue
  /// Whether the value counts as true; by itself, because most conditions never need the value.
  func isTrue(_ frame: inout Frame) -> Bool
  /// The evaluation that follows when this piece's value is the rule's result.
  func decide(_ frame: inout Frame) -> FlagEvaluation.Outcome
}

extension Expression {
  func isTrue(_ frame: inout Frame) -> Bool {
    value(&frame).isTruthy
  }

  func decide(_ frame: inout Frame) -> FlagEvaluation.Outcome {
    frame.decisions.outcome(for: value(&frame))
  }
}

/// An expression whose value is always a boolean.
protocol BooleanExpression: Expression {}

extension BooleanExpression {
  func value(_ frame: inout Frame) -> JSONValue {
    .bool(isTrue(&frame))
  }
}

/// What one evaluation works with. Borrows the context and the flag's decisions from the caller,
/// which keeps them alive until the evaluation is over: counting references would take longer than
/// most rules do.
struct Frame: ~Copyable {
  private let borrowedContext: UnsafePointer<EvaluationContext>
  unowned(unsafe) let decisions: Decisions
  /// Unix time in seconds; 0 when the rule does not ask for it.
  let timestampSeconds: Int64
  /// What `var` reads inside map, filter, all, none and some.
  var element: JSONValue = .null
  /// What `var` reads as `current` and `accumulator` inside reduce.
  var current: JSONValue = .null
  var accumulator: JSONValue = .null
  /// Steps left before the evaluation is given up; negative once it is.
  var stepsLeft: Int

  init(
    context: UnsafePointer<EvaluationContext>, decisions: Decisions, timestampSeconds: Int64,
    steps: Int
  ) {
    borrowedContext = context
    self.decisions = decisions
    self.timestampSeconds = timestampSeconds
    stepsLeft = steps
  }

  var context: EvaluationContext {
    @inline(__always) get { borrowedContext.pointee }
  }

  var isExhausted: Bool { stepsLeft < 0 }

  /// Pays for work that grows with the data. False once the evaluation has used up its steps; the
  /// caller then stops and gives null.
  mutating func spend(_ steps: Int) -> Bool {
    stepsLeft = stepsLeft < steps ? -1 : stepsLeft - steps
    return stepsLeft >= 0
  }
}

/// What `var` reads at a place in the rule; known when the rule is compiled.
enum VariableScope: Sendable {
  case context
  case element
  case reduction
}

/// All evaluations one flag can give, made once.
final class Decisions: Sendable {
  let flagKey: String
  let type: FlagValueType
  let metadata: [String: JSONValue]
  /// No targeting: the default variant, or no value.
  let untargeted: FlagEvaluation.Outcome
  /// Targeting did not decide: the default variant, or no value.
  let undecided: FlagEvaluation.Outcome
  let disabled: FlagEvaluation.Outcome
  let exhausted: FlagEvaluation.Outcome
  private let matches: [String: FlagEvaluation.Outcome]

  init(_ flag: FlagDefinition, setMetadata: [String: JSONValue], limits: RuleLimits) {
    let merged = setMetadata.merging(flag.metadata.filter { $0.value != .null }) { _, own in own }
    func outcome(
      _ value: JSONValue?, _ variant: String?, _ reason: EvaluationReason,
      _ code: EvaluationErrorCode? = nil, _ message: String? = nil
    ) -> FlagEvaluation.Outcome {
      FlagEvaluation.Outcome(
        value: value, variant: variant, reason: reason, errorCode: code, errorMessage: message,
        metadata: merged, type: flag.type)
    }
    func fallback(_ reason: EvaluationReason) -> FlagEvaluation.Outcome {
      guard let variant = flag.defaultVariant else { return outcome(nil, nil, .default) }
      guard let value = flag.variants[variant] else {
        return outcome(
          nil, nil, .error, .general,
          "flag \"\(flag.key)\": the default variant \"\(variant)\" is not one of its variants")
      }
      return outcome(value, variant, reason)
    }
    flagKey = flag.key
    type = flag.type
    metadata = merged
    untargeted = fallback(.static)
    undecided = fallback(.default)
    disabled = outcome(nil, nil, .disabled)
    exhausted = outcome(
      nil, nil, .error, .general,
      "flag \"\(flag.key)\": the rule took more than \(limits.evaluationSteps) steps on this "
        + "context")
    matches = Dictionary(
      uniqueKeysWithValues: flag.variants.map { name, value in
        (name, outcome(value, name, .targetingMatch))
      })
  }

  /// The match of a variant; nil when there is no such variant.
  func match(_ variant: String) -> FlagEvaluation.Outcome? {
    matches[variant]
  }

  var variantNames: [String] { matches.keys.sorted() }

  /// The evaluation for a rule's result: null leaves it to the default variant, booleans and
  /// numbers name the variant spelled like them, anything else is an error.
  func outcome(for result: JSONValue) -> FlagEvaluation.Outcome {
    switch result {
    case .null: return undecided
    case .number(let number) where !number.isFinite: return undecided
    case .array, .object: break
    case .string(let name):
      if let match = matches[name] { return match }
    case .bool, .number:
      if let match = matches[result.joinedText] { return match }
    }
    return FlagEvaluation.Outcome(
      value: nil, variant: nil, reason: .error, errorCode: .general,
      errorMessage: "flag \"\(flagKey)\": the rule gave \(result.excerpt), which is not a variant",
      metadata: metadata, type: type)
  }
}
