import KeelsonAPI
import KeelsonCore
import KeelsonFlagRules

// From the messages of WatchFlags to rules.

extension FlagRuleSet {
  init(_ snapshot: KeelsonFlagsV1.FlagsSnapshot, revision: Int64) {
    let set = snapshot.flagSet ?? KeelsonFlagsV1.FlagSetRules()
    self.init(
      flags: snapshot.flags.map { FlagDefinition($0) },
      segments: Dictionary(
        snapshot.segments.map { ($0.key, JSONValue(condition: $0.condition)) },
        uniquingKeysWith: { _, last in last }),
      bucketing: Bucketing(set.bucketing), metadata: set.metadata?.object ?? [:],
      revision: revision)
  }

  /// The set after a change, and the flags that differ in more than their revision; nil for a
  /// kind of change that this version does not know.
  func applying(
    _ change: KeelsonFlagsV1.FlagsChange, revision: Int64
  ) -> (rules: FlagRuleSet, keys: Set<String>)? {
    switch change.change {
    case .flag(let flag):
      let after = FlagDefinition(flag)
      let isSame = definition(after.key)?.isSame(as: after) ?? false
      return (setting(after, revision: revision), isSame ? [] : [after.key])
    case .removedFlag(let key):
      return (
        removingFlag(key, revision: revision), definition(key) == nil ? [] : [key]
      )
    case .segment(let segment):
      return settingSegment(
        segment.key, toCondition: JSONValue(condition: segment.condition), revision: revision)
    case .removedSegment(let key):
      return settingSegment(key, toCondition: nil, revision: revision)
    case .flagSet(let set):
      let bucketing = Bucketing(set.bucketing)
      let metadata = set.metadata?.object ?? [:]
      let isSame = bucketing == self.bucketing && metadata == self.metadata
      return (
        setting(bucketing: bucketing, metadata: metadata, revision: revision),
        isSame ? [] : Set(keys)
      )
    case nil: return nil
    }
  }

  private func settingSegment(
    _ name: String, toCondition condition: JSONValue?, revision: Int64
  ) -> (rules: FlagRuleSet, keys: Set<String>) {
    let after = settingSegment(name, to: condition, revision: revision)
    guard segments[name] != condition else { return (after, []) }
    return (after, Set(flags.lazy.filter { $0.refers(toSegment: name) }.map(\.key)))
  }

  /// The flags that evaluate, or may evaluate, otherwise than in another set.
  func keys(differingFrom before: FlagRuleSet?) -> Set<String> {
    guard let before else { return Set(keys) }
    if bucketing != before.bucketing || metadata != before.metadata {
      return Set(keys).union(before.keys)
    }
    var different = Set(before.keys.filter { definition($0) == nil })
    let changedSegments = Set(segments.keys).union(before.segments.keys).filter {
      segments[$0] != before.segments[$0]
    }
    for flag in flags {
      let isSame = before.definition(flag.key)?.isSame(as: flag) ?? false
      if !isSame || changedSegments.contains(where: flag.refers(toSegment:)) {
        different.insert(flag.key)
      }
    }
    return different
  }
}

extension FlagDefinition {
  init(_ flag: KeelsonFlagsV1.FlagRules) {
    let variants = flag.variants.mapValues(\.json)
    self.init(
      key: flag.key, type: FlagValueType(flag.type, variants: variants), isEnabled: flag.enabled,
      variants: variants, defaultVariant: flag.defaultVariant.isEmpty ? nil : flag.defaultVariant,
      targeting: flag.targeting.isEmpty ? nil : flag.targeting,
      metadata: flag.metadata?.object ?? [:], revision: flag.revision)
  }

  /// Whether two definitions evaluate alike: equal but for the revision, which also moves when
  /// the flag changes in another environment.
  fileprivate func isSame(as other: FlagDefinition) -> Bool {
    var other = other
    other.revision = revision
    return self == other
  }

  fileprivate func refers(toSegment name: String) -> Bool {
    // The search spares most flags the parsing.
    guard let targeting, targeting.contains("$ref"),
      let names = try? FlagRuleSet.referencedSegments(inTargeting: targeting)
    else { return false }
    return names.contains(name)
  }
}

extension FlagValueType {
  /// A type of a later version counts as that of the variants.
  fileprivate init(_ type: KeelsonFlagsV1.FlagType, variants: [String: JSONValue]) {
    switch type {
    case .boolean: self = .boolean
    case .string: self = .string
    case .number: self = .number
    case .object: self = .object
    case .unspecified, .unrecognized:
      self =
        FlagValueType.allCases.first { type in variants.values.allSatisfy(type.admits) } ?? .object
    }
  }
}

extension Bucketing {
  fileprivate init(_ bucketing: KeelsonFlagsV1.Bucketing) {
    switch bucketing {
    case .v2: self = .v2
    case .unspecified, .v3, .unrecognized: self = .v3
    }
  }
}

extension JSONValue {
  /// A segment's condition. One that is no JSON becomes an operator that no compiler knows, so
  /// that the flags which use it fail with PARSE_ERROR and the others do not.
  fileprivate init(condition: String) {
    self =
      (try? JSONValue(parsing: condition)) ?? .object(["unreadable segment condition": .null])
  }
}
