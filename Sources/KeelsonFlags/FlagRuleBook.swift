import KeelsonAPI
import KeelsonCore
import KeelsonFlagRules
import Synchronization

/// All flags, segments and sets in memory, with their rules compiled, for every environment.
///
/// Evaluation and watches read it; nothing else. It is filled once at start and then follows the
/// committed changes, each applied before the call that made it is answered, so that a caller
/// reads its own writes.
final class FlagRuleBook: Sendable {
  /// One committed change, as the book and the watches need it.
  enum Change: Sendable {
    /// A flag is new or different; archived flags count as gone.
    case flag(KeelsonFlagsV1.Flag)
    case segment(KeelsonFlagsV1.Segment)
    case removedSegment(KeelsonFlagsV1.Segment)
    case flagSet(KeelsonFlagsV1.FlagSet)

    /// The set it happened in.
    var setKey: String {
      switch self {
      case .flag(let flag): flag.flagSet
      case .segment(let segment), .removedSegment(let segment): segment.flagSet
      case .flagSet(let set): set.key
      }
    }
  }

  /// One set.
  fileprivate struct Pages {
    var set: KeelsonFlagsV1.FlagSet
    /// Those that are not archived.
    var flags: [String: KeelsonFlagsV1.Flag] = [:]
    var segments: [String: KeelsonFlagsV1.Segment] = [:]
    /// The rules of each environment that some flag has a state in.
    var rules: [String: FlagRuleSet] = [:]
    /// The rules anywhere else: every flag disabled.
    var rulesElsewhere = FlagRuleSet.empty
  }

  fileprivate struct State {
    var sets: [String: Pages] = [:]
    /// The last revision applied, whatever set it was in.
    var revision: Int64 = 0
  }

  private let state = Mutex(State())

  /// Rules of one set in one environment, with the revision that they are up to.
  struct Rules: Sendable {
    var set: FlagRuleSet
    var revision: Int64
  }

  /// The rules to evaluate with; nil when there is no such set.
  func rules(set: String, environment: String) -> Rules? {
    state.withLock { state in
      guard let pages = state.sets[set] else { return nil }
      return Rules(
        set: pages.rules[environment] ?? pages.rulesElsewhere, revision: state.revision)
    }
  }

  /// The last revision applied.
  var revision: Int64 { state.withLock { $0.revision } }

  /// Everything an evaluator needs of a set in an environment; an unknown set is empty.
  func snapshot(set: String, environment: String) -> KeelsonFlagsV1.WatchFlagsResponse {
    let (found, revision) = state.withLock { ($0.sets[set], $0.revision) }
    let pages = found ?? Pages(set: KeelsonFlagsV1.FlagSet())
    var snapshot = KeelsonFlagsV1.FlagsSnapshot()
    snapshot.flagSet = pages.set.rules
    snapshot.flags = pages.flags.values.sorted { $0.key < $1.key }.map {
      $0.rules(in: environment)
    }
    snapshot.segments = pages.segments.values.sorted { $0.key < $1.key }.map(\.rules)
    var response = KeelsonFlagsV1.WatchFlagsResponse()
    response.revision = revision
    response.event = .snapshot(snapshot)
    return response
  }

  /// Fills the book with what the store holds at a revision.
  func load(
    sets: [KeelsonFlagsV1.FlagSet], flags: [KeelsonFlagsV1.Flag],
    segments: [KeelsonFlagsV1.Segment], revision: Int64
  ) {
    var loaded = State()
    loaded.revision = revision
    for set in sets { loaded.sets[set.key] = Pages(set: set) }
    for segment in segments { loaded.sets[segment.flagSet]?.segments[segment.key] = segment }
    for flag in flags where flag.archiveTime == nil {
      loaded.sets[flag.flagSet]?.flags[flag.key] = flag
    }
    for key in loaded.sets.keys { loaded.sets[key]?.compileAll(revision: revision) }
    let complete = loaded
    state.withLock { $0 = complete }
  }

  /// Applies one committed change. Called in the order of revisions, by one thread.
  ///
  /// Rules are compiled on a copy, outside the lock, so that nobody who evaluates waits for that.
  func apply(_ change: Change, revision: Int64) {
    var pages = state.withLock { $0.sets[change.setKey] }
    if case .flagSet(let set) = change, pages == nil { pages = Pages(set: set) }
    pages?.apply(change, revision: revision)
    let next = pages
    state.withLock { state in
      state.revision = revision
      state.sets[change.setKey] = next
    }
  }

  /// The environments that the flags of a set have states in.
  func environments(of set: String) -> Set<String> {
    state.withLock { Set($0.sets[set]?.rules.keys ?? [:].keys) }
  }

  /// The flags whose rules do not compile.
  func failures() -> [(set: String, flag: String, error: RuleError)] {
    let sets = state.withLock { $0.sets }
    return sets.flatMap { key, pages in
      pages.rules.values.flatMap(\.failures).map { (key, $0.key, $0.value) }
    }
  }

  /// Notes a committed change that is not about flags.
  func advance(to revision: Int64) {
    state.withLock { $0.revision = revision }
  }
}

extension FlagRuleBook.Pages {
  fileprivate mutating func apply(_ change: FlagRuleBook.Change, revision: Int64) {
    switch change {
    case .flag(let flag):
      let old = flags[flag.key]
      flags[flag.key] = flag.archiveTime == nil ? flag : nil
      let environments = Set(flag.environments.keys).union(old?.environments.keys ?? [:].keys)
      // An environment seen for the first time starts from the rules elsewhere, which have every
      // other flag as disabled as it is there.
      for name in environments where rules[name] == nil { rules[name] = rulesElsewhere }
      for name in rules.keys { rules[name] = rules[name]?.next(flag, in: name, revision) }
      rulesElsewhere = rulesElsewhere.next(flag, in: "", revision)
    case .segment(let segment):
      segments[segment.key] = segment
      setSegment(segment.key, to: segment.parsed, revision)
    case .removedSegment(let segment):
      segments[segment.key] = nil
      setSegment(segment.key, to: nil, revision)
    case .flagSet(let set):
      self.set = set
      mapRules {
        $0.setting(
          bucketing: .init(set.bucketing), metadata: set.metadata?.object ?? [:],
          revision: revision)
      }
    }
  }

  fileprivate mutating func compileAll(revision: Int64) {
    let names = Set(flags.values.flatMap(\.environments.keys))
    for name in names { rules[name] = compiled(in: name, revision: revision) }
    rulesElsewhere = compiled(in: "", revision: revision)
  }

  private func compiled(in environment: String, revision: Int64) -> FlagRuleSet {
    FlagRuleSet(
      flags: flags.values.map { FlagDefinition($0.rules(in: environment)) },
      segments: segments.compactMapValues(\.parsed), bucketing: .init(set.bucketing),
      metadata: set.metadata?.object ?? [:], revision: revision)
  }

  private mutating func setSegment(_ key: String, to rule: JSONValue?, _ revision: Int64) {
    mapRules { $0.settingSegment(key, to: rule, revision: revision) }
  }

  private mutating func mapRules(_ transform: (FlagRuleSet) -> FlagRuleSet) {
    for name in rules.keys { rules[name] = rules[name].map(transform) }
    rulesElsewhere = transform(rulesElsewhere)
  }
}

extension FlagRuleSet {
  fileprivate func next(
    _ flag: KeelsonFlagsV1.Flag, in environment: String, _ revision: Int64
  ) -> FlagRuleSet {
    flag.archiveTime == nil
      ? setting(FlagDefinition(flag.rules(in: environment)), revision: revision)
      : removingFlag(flag.key, revision: revision)
  }
}

extension KeelsonFlagsV1.Segment {
  /// The condition as a value. It was checked before it was stored.
  var parsed: JSONValue? { try? JSONValue(parsing: condition) }

  var rules: KeelsonFlagsV1.SegmentRules {
    var rules = KeelsonFlagsV1.SegmentRules()
    rules.key = key
    rules.condition = condition
    return rules
  }
}

extension KeelsonFlagsV1.FlagSet {
  var rules: KeelsonFlagsV1.FlagSetRules {
    var rules = KeelsonFlagsV1.FlagSetRules()
    rules.bucketing = bucketing == .unspecified ? .v3 : bucketing
    rules.metadata = metadata
    return rules
  }
}

extension FlagRuleBook.Change {
  /// The change as a watcher of one environment sees it.
  func rules(in environment: String) -> KeelsonFlagsV1.FlagsChange {
    var change = KeelsonFlagsV1.FlagsChange()
    switch self {
    case .flag(let flag):
      change.change =
        flag.archiveTime == nil ? .flag(flag.rules(in: environment)) : .removedFlag(flag.key)
    case .segment(let segment): change.change = .segment(segment.rules)
    case .removedSegment(let segment): change.change = .removedSegment(segment.key)
    case .flagSet(let set): change.change = .flagSet(set.rules)
    }
    return change
  }
}
