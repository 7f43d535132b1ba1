import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore

/// Which entries are wanted: those that match all that is given.
struct AuditFilter: Sendable, Hashable {
  enum Action: Sendable, Hashable {
    case exactly(String)
    /// With the point at the end: `flag.` for `flag.*`.
    case beginning(with: String)

    func matches(_ action: String) -> Bool {
      switch self {
      case .exactly(let word): action == word
      case .beginning(let prefix): action.utf8.starts(with: prefix.utf8)
      }
    }
  }

  /// Any of these; empty: whoever. A subject goes by its name and by its pseudonym.
  var actors: [String] = []
  var entityType = ""
  /// Any of these; empty: whichever.
  var entityIDs: [String] = []
  var action: Action?
  var outcome: AuditEntry.Outcome?
  var category = ""
  var correlationID = ""
  var startTime: UnixTime?
  var endTime: UnixTime?

  init() {}

  /// Whether it may name a subject, which entries have under a pseudonym.
  var namesSomebody: Bool { !actors.isEmpty || !entityIDs.isEmpty }

  /// Whether nothing is left out.
  var isEmpty: Bool { self == AuditFilter() }

  func matches(_ entry: AuditEntry) -> Bool {
    (actors.isEmpty || actors.contains(entry.actor))
      && (entityType.isEmpty || entry.entityType == entityType)
      && (entityIDs.isEmpty || entityIDs.contains(entry.entityID))
      && (action?.matches(entry.action) ?? true)
      && (outcome == nil || entry.outcome == outcome)
      && (category.isEmpty || entry.category == category)
      && (correlationID.isEmpty || entry.correlationID == correlationID)
      && (startTime.map { entry.time >= $0 } ?? true)
      && (endTime.map { entry.time < $0 } ?? true)
  }

  /// Reads the filter of a request.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT that names each field that cannot match anything.
  init(_ message: KeelsonAuditV1.EntryFilter?, limits: AuditLimits) throws {
    guard let message else { return }
    var check = AuditFieldCheck(prefix: "filter.")
    check.text(message.actor, "actor", limits.nameBytes)
    check.text(message.entityId, "entity_id", limits.textBytes)
    check.text(message.correlationId, "correlation_id", limits.wordBytes)
    check.word(message.entityType, "entity_type", limits.wordBytes)
    check.word(message.category, "category", limits.categoryBytes)
    if !message.actor.isEmpty { actors = [message.actor] }
    if !message.entityId.isEmpty { entityIDs = [message.entityId] }
    entityType = message.entityType
    category = message.category
    correlationID = message.correlationId
    if message.action.hasSuffix("*") {
      let prefix = String(message.action.dropLast())
      if !prefix.isEmpty {
        if prefix.hasSuffix(".") {
          check.word(prefix, "action", limits.wordBytes)
        } else {
          check.add("action", "'\(message.action)' ends in * but not in .*, as flag.* does")
        }
        action = .beginning(with: prefix)
      }
    } else if !message.action.isEmpty {
      check.word(message.action, "action", limits.wordBytes)
      action = .exactly(message.action)
    }
    outcome = check.outcome(message.outcome, "outcome")
    startTime = check.time(message.startTime, "start_time")
    endTime = check.time(message.endTime, "end_time")
    if let startTime, let endTime, endTime <= startTime {
      check.add("end_time", "\(endTime) is not after start_time, \(startTime): nothing can match")
    }
    try check.finish()
  }
}
