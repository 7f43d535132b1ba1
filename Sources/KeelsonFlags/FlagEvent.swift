import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// The events of this service. Their payload is the encoded resource after the change, from which
/// the rule book and resuming watches learn what happened.
enum FlagEvent: String, Sendable {
  case flagCreated = "keelson.flags.FeatureFlagCreated"
  case flagUpdated = "keelson.flags.FeatureFlagUpdated"
  case flagToggled = "keelson.flags.FeatureFlagToggled"
  case flagTargetingUpdated = "keelson.flags.FeatureFlagTargetingUpdated"
  case flagArchived = "keelson.flags.FeatureFlagArchived"
  case flagRestored = "keelson.flags.FeatureFlagRestored"
  case segmentCreated = "keelson.flags.FeatureFlagSegmentCreated"
  case segmentUpdated = "keelson.flags.FeatureFlagSegmentUpdated"
  case segmentDeleted = "keelson.flags.FeatureFlagSegmentDeleted"
  case flagSetCreated = "keelson.flags.FeatureFlagSetCreated"
  case flagSetUpdated = "keelson.flags.FeatureFlagSetUpdated"

  /// Told of each evaluation to whoever listens, and not kept.
  static let evaluatedType = "keelson.flags.FeatureFlagEvaluated"

  /// What all types here begin with.
  static let typePrefix = "keelson.flags."

  /// The word for it in a flag's history, and behind `flag.` in the audit trail.
  var action: String {
    switch self {
    case .flagCreated, .segmentCreated, .flagSetCreated: "created"
    case .flagUpdated, .segmentUpdated, .flagSetUpdated: "updated"
    case .flagToggled: "toggled"
    case .flagTargetingUpdated: "targeting_updated"
    case .flagArchived: "archived"
    case .flagRestored: "restored"
    case .segmentDeleted: "deleted"
    }
  }
}

extension FlagRuleBook.Change {
  /// The change that a committed event stands for; nil for events of other services.
  ///
  /// - Throws: `RPCError` when the payload does not decode, which means a damaged database.
  init?(_ event: CommittedEvent) throws {
    guard let kind = FlagEvent(rawValue: event.type) else { return nil }
    switch kind {
    case .flagCreated, .flagUpdated, .flagToggled, .flagTargetingUpdated, .flagArchived,
      .flagRestored:
      self = .flag(try KeelsonFlagsV1.Flag(decoding: event.payload, limits: StoredMessage.limits))
    case .segmentCreated, .segmentUpdated:
      self = .segment(
        try KeelsonFlagsV1.Segment(decoding: event.payload, limits: StoredMessage.limits))
    case .segmentDeleted:
      self = .removedSegment(
        try KeelsonFlagsV1.Segment(decoding: event.payload, limits: StoredMessage.limits))
    case .flagSetCreated, .flagSetUpdated:
      self = .flagSet(
        try KeelsonFlagsV1.FlagSet(decoding: event.payload, limits: StoredMessage.limits))
    }
  }
}

extension Change {
  /// Writes the audit entry, the history and the event of a change to a flag.
  func record(
    _ event: FlagEvent, before: KeelsonFlagsV1.Flag?, after: KeelsonFlagsV1.Flag
  ) async throws {
    var entry = KeelsonFlagsV1.FlagHistoryEntry()
    entry.revision = revision
    entry.action = event.action
    entry.actor = origin.actor
    entry.correlationId = origin.correlationID
    try await FlagRepository.insertHistory(entry, time: time, flag: after, in: self)
    record(
      event, entity: "flag", set: after.flagSet, key: after.key, before: before, after: after,
      payload: after.encoded())
  }

  /// Writes the audit entry and the event of a change to a segment or a set.
  func record<M: Message>(
    _ event: FlagEvent, entity: String, set: String, key: String, before: M?, after: M?,
    payload: [UInt8]
  ) {
    let subject = entity == "flag_set" ? key : "\(set)/\(key)"
    audit(
      AuditDraft(
        action: "\(entity).\(event.action)", entityType: entity, entityID: subject,
        before: before.map { JSONText($0.json) }, after: after.map { JSONText($0.json) }))
    emit(
      EventDraft(
        type: event.rawValue, subject: subject,
        data: JSONText(["flag_set": .string(set), "key": .string(key)]), payload: payload))
  }
}
