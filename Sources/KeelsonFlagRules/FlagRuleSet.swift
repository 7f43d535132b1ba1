public import KeelsonCore

/// All flags of one set in one environment at one revision, compiled. Immutable: a change makes
/// the next set and recompiles only what it touches.
public struct FlagRuleSet: Sendable {
  public private(set) var bucketing: Bucketing
  public private(set) var metadata: [String: JSONValue]
  /// Rule fragments by name, for `$ref`.
  public private(set) var segments: [String: JSONValue]
  /// The revision of the newest change in this set.
  public private(set) var revision: Int64
  /// Why flags of this set do not compile, by flag key.
  public private(set) var failures: [String: RuleError] = [:]
  private let limits: RuleLimits
  private var entries: [String: CompiledFlag] = [:]

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
    self.limits = limits
    for flag in flags { put(flag) }
  }

  /// A set without flags.
  public static let empty = FlagRuleSet(flags: [])

  /// The flags as they were written, in no particular order.
  public var flags: [FlagDefinition] { entries.values.map(\.definition) }
  public var keys: some Collection<String> { entries.keys }
  public var count: Int { entries.count }

  /// The flag as it was written.
  public func definition(_ key: String) -> FlagDefinition? { entries[key]?.definition }

  private mutating func put(_ flag: FlagDefinition) {
    do {
      entries[flag.key] = try CompiledFlag(
        flag, segments: segments, bucketing: bucketing, setMetadata: metadata, limits: limits)
      failures[flag.key] = nil
    } catch {
      entries[flag.key] = CompiledFlag(
        flag, failing: error, setMetadata: metadata, limits: limits)
      failures[flag.key] = error
    }
  }
}

// The next set
extension FlagRuleSet {
  /// The next set, with one flag added or replaced.
  public func setting(_ flag: FlagDefinition, revision: Int64) -> FlagRuleSet {
    var next = self
    next.revision = revision
    next.put(flag)
    return next
  }

  /// The next set, without that flag.
  public func removingFlag(_ key: String, revision: Int64) -> FlagRuleSet {
    var next = self
    next.revision = revision
    next.entries[key] = nil
    next.failures[key] = nil
    return next
  }

  /// The next set, with a segment added, replaced or (nil) removed. Recompiles the flags that
  /// refer to it.
  public func settingSegment(_ name: String, to rule: JSONValue?, revision: Int64) -> FlagRuleSet {
    var next = self
    next.revision = revision
    next.segments[name] = rule
    for flag in entries.values where flag.referencedSegments.contains(name) {
      next.put(flag.definition)
    }
    return next
  }

  /// The next set, with other metadata or bucketing. Recompiles every flag.
  public func setting(
    bucketing: Bucketing, metadata: [String: JSONValue], revision: Int64
  ) -> FlagRuleSet {
    FlagRuleSet(
      flags: flags, segments: segments, bucketing: bucketing, metadata: metadata,
      revision: revision, limits: limits)
  }
}

// Evaluation
extension FlagRuleSet {
  /// A flag for a context; FLAG_NOT_FOUND when the set has no flag of that key.
  public func evaluate(
    _ key: String, context: EvaluationContext, now: @autoclosure () -> UnixTime = .now
  ) -> FlagEvaluation {
    guard let flag = entries[key] else {
      return .failure(
        .flagNotFound, "there is no flag \"\(key)\" in this set", metadata: metadata)
    }
    return flag.evaluate(context, now: now())
  }

  /// As ``evaluate(_:context:now:)``; TYPE_MISMATCH when the value is of another type.
  public func evaluate(
    _ key: String, as type: FlagValueType, context: EvaluationContext,
    now: @autoclosure () -> UnixTime = .now
  ) -> FlagEvaluation {
    let evaluation = evaluate(key, context: context, now: now())
    guard let value = evaluation.value, !type.admits(value) else { return evaluation }
    return .failure(
      .typeMismatch,
      "flag \"\(key)\" was asked for as \(type), but its value is \(value.excerpt)",
      metadata: evaluation.metadata, type: evaluation.type)
  }
}

// Checks before writing
extension FlagRuleSet {
  /// The segments a rule's text refers to with `$ref`, sorted.
  ///
  /// - Throws: ``RuleError`` when the text is no rule.
  public static func referencedSegments(
    inTargeting text: String, limits: RuleLimits = .standard
  ) throws(RuleError) -> [String] {
    guard let rule = try RuleCompiler.parse(text, limits: limits) else { return [] }
    var names: Set<String> = []
    RuleCompiler.collectReferences(in: rule, into: &names)
    return names.sorted()
  }

  /// The stricter check for writes: everything a compile finds, and what would only fail, or never
  /// match, at evaluation (variants that do not exist, bad weights, …).
  public static func validate(
    _ flag: FlagDefinition, segments: [String: JSONValue], limits: RuleLimits = .standard
  ) throws(RuleError) {
    if flag.variants.isEmpty {
      throw RuleError(
        path: "variants", operator: "", message: "a flag needs at least one variant")
    }
    for (name, value) in flag.variants.sorted(by: { $0.key < $1.key })
    where !flag.type.admits(value) {
      throw RuleError(
        path: "variants.\(name)", operator: "",
        message: "the flag is of type \(flag.type), but the variant is \(value.excerpt)")
    }
    if let name = flag.defaultVariant, flag.variants[name] == nil {
      let names = flag.variants.keys.sorted().map { "\"\($0)\"" }.joined(separator: ", ")
      throw RuleError(
        path: "defaultVariant", operator: "",
        message: "the flag has no variant \"\(name)\"; the variants are \(names)")
    }
    _ = try CompiledFlag(
      flag, segments: segments, bucketing: .v3, setMetadata: [:], limits: limits, isStrict: true)
  }

  /// The same check for a segment by itself.
  public static func validateSegment(
    _ name: String, _ rule: JSONValue, limits: RuleLimits = .standard
  ) throws(RuleError) {
    var compiler = RuleCompiler(
      flagKey: "", decisions: nil, segments: [:], bucketing: .v3, limits: limits, isStrict: true)
    let size = rule.text.utf8.count
    if size > limits.textBytes {
      throw RuleError(
        path: "$evaluators.\(name)", operator: "",
        message: "the segment is \(size) bytes long, and at most \(limits.textBytes) are allowed")
    }
    _ = try compiler.compileSegment(name, rule, as: .operand, in: .context)
  }
}
