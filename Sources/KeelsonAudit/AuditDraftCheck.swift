import KeelsonAPI
import KeelsonAuditTrail
import KeelsonCore

/// An entry that a caller wants recorded, checked.
struct NewEntry: Sendable, Hashable {
  /// Without its place in the chain, and readable.
  var entry: AuditEntry
  /// Whose personal data it holds; empty: nobody's.
  var subject: String
  /// The caller gave no id.
  var hasNewID: Bool
}

/// Checks the entries of a request. Source: SYS-107.
struct AuditDraftCheck: Sendable {
  let limits: AuditLimits

  /// - Throws: `RPCError` INVALID_ARGUMENT that names the fields and what would be right.
  func entries(
    of request: KeelsonAuditV1.RecordEntriesRequest, recorder: String, correlationID: String
  ) throws -> [NewEntry] {
    guard !request.entries.isEmpty else {
      throw RPCError.invalidArgument(
        field: "entries", "is empty; give 1 to \(limits.entriesPerCall)")
    }
    guard request.entries.count <= limits.entriesPerCall else {
      throw RPCError.invalidArgument(
        field: "entries",
        "has \(request.entries.count) entries; at most \(limits.entriesPerCall) are allowed in one "
          + "call")
    }
    let now = UnixTime.now
    var indexes: [String: Int] = [:]
    var violations: [FieldViolation] = []
    var entries: [NewEntry] = []
    entries.reserveCapacity(request.entries.count)
    for (index, draft) in request.entries.enumerated() {
      var check = AuditFieldCheck(prefix: "entries[\(index)].", violations: violations)
      let entry = self.entry(
        draft, recorder: recorder, correlationID: correlationID, now: now, &check)
      if let first = indexes.updateValue(index, forKey: entry.entry.id) {
        check.add("entry_id", "'\(entry.entry.id)' is that of entries[\(first)] too")
      }
      entries.append(entry)
      violations = check.violations
    }
    try AuditFieldCheck(violations: violations).finish()
    return entries
  }

  private func entry(
    _ draft: KeelsonAuditV1.EntryDraft, recorder: String, correlationID: String, now: UnixTime,
    _ check: inout AuditFieldCheck
  ) -> NewEntry {
    if !draft.entryId.isEmpty, !UUIDText.isValid(draft.entryId) {
      check.add(
        "entry_id", "'\(draft.entryId.prefix(64))' is no UUID in lower case; leave it empty for one"
      )
    }
    check.text(draft.actor, "actor", limits.nameBytes, isRequired: true)
    check.word(draft.action, "action", limits.wordBytes, isRequired: true)
    check.word(draft.entityType, "entity_type", limits.wordBytes, isRequired: true)
    check.text(draft.entityId, "entity_id", limits.textBytes)
    check.word(draft.category, "category", limits.categoryBytes)
    check.text(draft.correlationId, "correlation_id", limits.wordBytes)
    check.text(draft.peer, "peer", limits.nameBytes)
    check.text(draft.userAgent, "user_agent", limits.textBytes)
    check.text(draft.subject, "subject", limits.nameBytes)
    json(draft.before, "before", &check)
    json(draft.after, "after", &check)
    if draft.attributes.count > limits.attributes {
      check.add(
        "attributes",
        "has \(draft.attributes.count) entries; at most \(limits.attributes) are allowed")
    }
    for (key, value) in draft.attributes {
      check.text(key, "attributes", limits.attributeKeyBytes, isRequired: true)
      check.text(value, "attributes", limits.attributeValueBytes)
    }
    let entry = AuditEntry(
      id: draft.entryId.isEmpty ? UUIDv7.make(at: now) : draft.entryId, time: now,
      occurTime: check.time(draft.occurTime, "occur_time"), recorder: recorder,
      actor: draft.actor, action: draft.action, entityType: draft.entityType,
      entityID: draft.entityId, before: draft.before.isEmpty ? nil : draft.before,
      after: draft.after.isEmpty ? nil : draft.after,
      attributes: draft.attributes.isEmpty
        ? nil : JSONValue.object(draft.attributes.mapValues { .string($0) }).text,
      category: draft.category.isEmpty ? "change" : draft.category,
      outcome: check.outcome(draft.outcome, "outcome") ?? .success,
      correlationID: draft.correlationId.isEmpty ? correlationID : draft.correlationId,
      peer: draft.peer, userAgent: draft.userAgent)
    return NewEntry(entry: entry, subject: draft.subject, hasNewID: draft.entryId.isEmpty)
  }

  private func json(_ text: String, _ field: String, _ check: inout AuditFieldCheck) {
    guard !text.isEmpty else { return }
    guard text.utf8.count <= limits.stateBytes else {
      check.add(
        field, "has \(text.utf8.count) bytes; at most \(limits.stateBytes) are allowed")
      return
    }
    do {
      _ = try JSONValue(parsing: text)
    } catch {
      check.add(field, "is no JSON: \(error)")
    }
  }
}
