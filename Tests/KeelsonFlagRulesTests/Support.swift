import KeelsonCore

@testable import KeelsonFlagRules

/// The value of a rule that belongs to no flag in particular.
func value(
  _ rule: String, _ context: EvaluationContext = .empty, bucketing: Bucketing = .v3,
  limits: RuleLimits = .standard
) throws -> JSONValue {
  try value(JSONValue(parsing: rule), context, bucketing: bucketing, limits: limits)
}

func value(
  _ rule: JSONValue, _ context: EvaluationContext = .empty, bucketing: Bucketing = .v3,
  limits: RuleLimits = .standard
) throws -> JSONValue {
  let decisions = Decisions(
    FlagDefinition(key: "flag", type: .string, variants: [:]), setMetadata: [:], limits: limits)
  var compiler = RuleCompiler(
    flagKey: "flag", decisions: nil, segments: [:], bucketing: bucketing, limits: limits,
    isStrict: false)
  let expression = try compiler.compile(rule, as: .operand, in: .context)
  return withUnsafePointer(to: context) { context in
    var frame = Frame(
      context: context, decisions: decisions, timestampSeconds: 1_700_000_000,
      steps: limits.evaluationSteps)
    return expression.value(&frame)
  }
}

/// A flag with the variants that are its own names.
func colourFlag(
  _ targeting: String?, key: String = "colour", defaultVariant: String? = "red",
  isEnabled: Bool = true
) -> FlagDefinition {
  FlagDefinition(
    key: key, type: .string, isEnabled: isEnabled,
    variants: ["red": "#f00", "green": "#0f0", "blue": "#00f"], defaultVariant: defaultVariant,
    targeting: targeting)
}
