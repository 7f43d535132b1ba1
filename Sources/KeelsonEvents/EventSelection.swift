import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// Which events a subscriber wants.
struct EventSelection: Sendable, Hashable {
  /// None: all.
  var types: [NamePattern]
  /// None: all.
  var subjects: [NamePattern]
  var kinds: Set<EventType.Kind>

  func includes(type: String, subject: String) -> Bool {
    types.matches(type) && subjects.matches(subject)
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT for what can never match, so that nobody waits in vain.
  init(_ request: KeelsonEventsV1.SubscribeRequest, limits: EventLimits) throws {
    kinds = try EventSelection.kinds(request.classes)
    types = try .reading(request.types, field: "types", limits: limits)
    subjects = try .reading(request.subjects, field: "subjects", limits: limits)
    for (index, pattern) in types.enumerated() {
      try EventSelection.check(pattern, field: "types[\(index)]", kinds: kinds)
    }
  }

  private static func kinds(_ classes: [KeelsonEventsV1.EventClass]) throws
    -> Set<EventType.Kind>
  {
    guard !classes.isEmpty else { return [.durable] }
    return Set(
      try classes.enumerated().map { index, value in
        guard let kind = EventType.Kind(value) else {
          throw RPCError.invalidArgument(
            field: "classes[\(index)]",
            "\(value.rawValue) is no class; use EVENT_CLASS_DURABLE or EVENT_CLASS_TELEMETRY")
        }
        return kind
      })
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT when no type of the classes that are asked for matches.
  private static func check(
    _ pattern: NamePattern, field: String, kinds: Set<EventType.Kind>
  ) throws {
    let found = try types(matching: pattern, field: field)
    guard !found.contains(where: { kinds.contains($0.kind) }) else { return }
    let needed = found[0].kind == .durable ? "EVENT_CLASS_DURABLE" : "EVENT_CLASS_TELEMETRY"
    throw RPCError.invalidArgument(
      field: field,
      "'\(pattern.description.prefix(128))' matches only events of a class that is not asked "
        + "for; add \(needed) to classes")
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT when no type whose events are kept matches.
  static func checkKept(_ pattern: NamePattern, field: String) throws {
    guard try !types(matching: pattern, field: field).contains(where: { $0.kind == .durable })
    else { return }
    throw RPCError.invalidArgument(
      field: field,
      "'\(pattern.description.prefix(128))' matches only telemetry, which is not kept; Subscribe "
        + "has it as it happens")
  }

  private static func types(matching pattern: NamePattern, field: String) throws -> [EventType] {
    let found = EventCatalogue.all.filter { pattern.matches($0.name) }
    guard found.isEmpty else { return found }
    let suggestion =
      pattern.isPrefix
      ? ""
      : NearestWord.suggestion(for: pattern.text, among: EventCatalogue.all.map(\.name))
    throw RPCError.invalidArgument(
      field: field,
      "no event type is '\(pattern.description.prefix(128))'\(suggestion); ListEventTypes has "
        + "them all")
  }
}

extension EventType.Kind {
  init?(_ value: KeelsonEventsV1.EventClass) {
    switch value {
    case .durable: self = .durable
    case .telemetry: self = .telemetry
    case .unspecified, .unrecognized: return nil
    }
  }
}

extension KeelsonEventsV1.EventClass {
  init(_ kind: EventType.Kind) {
    self =
      switch kind {
      case .durable: .durable
      case .telemetry: .telemetry
      }
  }
}
