public import KeelsonCore

/// A flag ready to be evaluated: its rule compiled once, its results made beforehand.
public final class CompiledFlag: Sendable {
  public let definition: FlagDefinition
  /// Names of the segments the rule refers to with `$ref`.
  public let referencedSegments: Set<String>

  /// The result when the context does not matter.
  private let fixed: FlagEvaluation.Outcome?
  private let rule: any Expression
  private let usesTimestamp: Bool
  private let decisions: Decisions
  private let evaluationSteps: Int

  /// - Parameters:
  ///   - segments: rule fragments by name, for `$ref`.
  ///   - setMetadata: what the flag's own metadata is laid over.
  /// - Throws: ``RuleError`` when the rule cannot be given a meaning.
  public convenience init(
    _ definition: FlagDefinition, segments: [String: JSONValue] = [:],
    bucketing: Bucketing = .v3, setMetadata: [String: JSONValue] = [:],
    limits: RuleLimits = .standard
  ) throws(RuleError) {
    try self.init(
      definition, segments: segments, bucketing: bucketing, setMetadata: setMetadata,
      limits: limits, isStrict: false)
  }

  init(
    _ definition: FlagDefinition, segments: [String: JSONValue], bucketing: Bucketing,
    setMetadata: [String: JSONValue], limits: RuleLimits, isStrict: Bool
  ) throws(RuleError) {
    let decisions = Decisions(definition, setMetadata: setMetadata, limits: limits)
    var compiler = RuleCompiler(
      flagKey: definition.key, decisions: decisions, segments: segments, bucketing: bucketing,
      limits: limits, isStrict: isStrict)
    if let rule = try RuleCompiler.parse(definition.targeting, limits: limits) {
      self.rule = try compiler.compileRule(rule)
      fixed = definition.isEnabled ? nil : decisions.disabled
    } else {
      rule = Literal.null
      fixed = definition.isEnabled ? decisions.untargeted : decisions.disabled
    }
    usesTimestamp = compiler.usesTimestamp
    referencedSegments = compiler.referencedSegments
    evaluationSteps = limits.evaluationSteps
    self.decisions = decisions
    self.definition = definition
  }

  /// Stands in for a flag whose rule does not compile: PARSE_ERROR, or DISABLED while it is off.
  init(
    _ definition: FlagDefinition, failing error: RuleError, setMetadata: [String: JSONValue],
    limits: RuleLimits
  ) {
    let decisions = Decisions(definition, setMetadata: setMetadata, limits: limits)
    let failure = FlagEvaluation.failure(
      .parseError, "flag \"\(definition.key)\": \(error)", metadata: decisions.metadata,
      type: definition.type)
    fixed = definition.isEnabled ? failure.outcome : decisions.disabled
    rule = Literal.null
    usesTimestamp = false
    referencedSegments = RuleCompiler.references(in: definition.targeting, limits: limits)
    evaluationSteps = limits.evaluationSteps
    self.decisions = decisions
    self.definition = definition
  }

  /// The flag for `context`. Never fails and never blocks; errors are in the result.
  ///
  /// - Parameter now: what `$flagd.timestamp` is; read only by rules that use it.
  public func evaluate(
    _ context: EvaluationContext, now: @autoclosure () -> UnixTime = .now
  ) -> FlagEvaluation {
    if let fixed { return FlagEvaluation(fixed) }
    var seconds: Int64 = 0
    if usesTimestamp {
      let (quotient, remainder) = now().microseconds.quotientAndRemainder(dividingBy: 1_000_000)
      seconds = remainder < 0 ? quotient - 1 : quotient
    }
    return withUnsafePointer(to: context) { context in
      var frame = Frame(
        context: context, decisions: decisions, timestampSeconds: seconds, steps: evaluationSteps)
      let outcome = rule.decide(&frame)
      return FlagEvaluation(frame.isExhausted ? decisions.exhausted : outcome)
    }
  }
}

extension RuleCompiler {
  /// The segments a rule's text refers to; none when it is not JSON.
  static func references(in text: String?, limits: RuleLimits) -> Set<String> {
    guard let rule = try? parse(text, limits: limits) else { return [] }
    var names: Set<String> = []
    collectReferences(in: rule, into: &names)
    return names
  }

  static func collectReferences(in rule: JSONValue, into names: inout Set<String>) {
    switch rule {
    case .array(let elements):
      for element in elements { collectReferences(in: element, into: &names) }
    case .object(let members):
      if members.count == 1, case .string(let name)? = members["$ref"] { names.insert(name) }
      for member in members.values { collectReferences(in: member, into: &names) }
    default:
      break
    }
  }
}
