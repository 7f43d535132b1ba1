public import KeelsonCore

/// A flag ready to be evaluated: its rule compiled once, its results made beforehand.
public final class CompiledFlag: Sendable {
  public let definition: FlagDefinition
  /// Names of the segments the rule refers to with `$ref`.
  public let referencedSegments: Set<String>
  private let fallback: FlagEvaluation

  /// - Parameters:
  ///   - segments: rule fragments by name, for `$ref`.
  ///   - setMetadata: what the flag's own metadata is laid over.
  /// - Throws: ``RuleError`` when the rule, or the flag's variants, cannot be used.
  public init(
    _ definition: FlagDefinition, segments: [String: JSONValue] = [:],
    bucketing: Bucketing = .v3, setMetadata: [String: JSONValue] = [:],
    limits: RuleLimits = .standard
  ) throws(RuleError) {
    self.definition = definition
    referencedSegments = []
    fallback = FlagEvaluation(value: nil, variant: nil, reason: .default)
  }

  /// The flag for `context`. Never fails and never blocks; errors are in the result.
  ///
  /// - Parameter now: what `$flagd.timestamp` is; read only by rules that use it.
  public func evaluate(
    _ context: EvaluationContext, now: @autoclosure () -> UnixTime = .now
  ) -> FlagEvaluation {
    fallback
  }
}
