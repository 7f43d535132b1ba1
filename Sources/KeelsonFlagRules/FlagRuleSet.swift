public import KeelsonCore

/// All flags of one set in one environment at one revision, compiled. Immutable: a change makes
/// the next set and recompiles only what it touches.
public struct FlagRuleSet: Sendable {
  public let bucketing: Bucketing
  public let metadata: [String: JSONValue]
  /// Rule fragments by name, for `$ref`.
  public let segments: [String: JSONValue]
  /// The revision of the newest change in this set.
  public let revision: Int64
  private let entries: [String: CompiledFlag]

  /// Compiles every flag. A flag whose rule does not compile stays in the set and evaluates to a
  /// PARSE_ERROR; the other flags are not affected.
  public init(
    flags: [FlagDefinition], segments: [String: JSONValue] = [:], bucketing: Bucketing = .v3,
    metadata: [String: JSONValue] = [:], revision: Int64 = 0, limits: RuleLimits = .standard
  ) {
    self.bucketing = bucketing
    self.metadata = metadata
    self.segments = segments
    self.revision = revision
    entries = [:]
  }

  /// A set without flags.
  public static let empty = FlagRuleSet(flags: [])

  /// The flags as they were written, in no particular order.
  public var flags: [FlagDefinition] { entries.values.map(\.definition) }
  public var count: Int { entries.count }
  /// The flag as it was written.
  public func definition(_ key: String) -> FlagDefinition? { entries[key]?.definition }
  /// Why flags of this set do not compile, by flag key.
  public var failures: [String: RuleError] { [:] }

  /// The next set, with one flag added or replaced.
  public func setting(_ flag: FlagDefinition, revision: Int64) -> FlagRuleSet { self }
  /// The next set, without that flag.
  public func removingFlag(_ key: String, revision: Int64) -> FlagRuleSet { self }
  /// The next set, with a segment added, replaced or (nil) removed. Recompiles the flags that
  /// refer to it.
  public func settingSegment(_ name: String, to rule: JSONValue?, revision: Int64) -> FlagRuleSet {
    self
  }
  /// The next set, with other metadata or bucketing. Recompiles every flag.
  public func setting(
    bucketing: Bucketing, metadata: [String: JSONValue], revision: Int64
  ) -> FlagRuleSet { self }

  /// A flag for a context; FLAG_NOT_FOUND when the set has no flag of that key.
  public func evaluate(
    _ key: String, context: EvaluationContext, now: @autoclosure () -> UnixTime = .now
  ) -> FlagEvaluation {
    .failure(.flagNotFound, "")
  }

  /// As ``evaluate(_:context:now:)``; TYPE_MISMATCH when the flag is of another type.
  public func evaluate(
    _ key: String, as type: FlagValueType, context: EvaluationContext,
    now: @autoclosure () -> UnixTime = .now
  ) -> FlagEvaluation {
    .failure(.flagNotFound, "")
  }

  /// The segments a rule's text refers to with `$ref`, sorted.
  ///
  /// - Throws: ``RuleError`` when the text is not JSON.
  public static func referencedSegments(
    inTargeting text: String, limits: RuleLimits = .standard
  ) throws(RuleError) -> [String] { [] }

  /// The stricter check for writes: everything a compile finds, and what would only fail, or never
  /// match, at evaluation (variants that do not exist, bad weights, …).
  public static func validate(
    _ flag: FlagDefinition, segments: [String: JSONValue], limits: RuleLimits = .standard
  ) throws(RuleError) {}

  /// The same check for a segment by itself.
  public static func validateSegment(
    _ name: String, _ rule: JSONValue, limits: RuleLimits = .standard
  ) throws(RuleError) {}
}
