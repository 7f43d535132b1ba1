package import KeelsonAuditTrail
package import KeelsonCore

/// Who causes a change, and through which call.
package struct ChangeOrigin: Sendable, Hashable {
  /// The identity, `anonymous` or `system` where there is none.
  package var actor: String
  /// The caller's address in gRPC's naming; empty for the server itself.
  package var peer: String
  package var userAgent: String
  package var correlationID: String
  /// The call's place in a distributed trace (W3C Trace Context); empty where there is none.
  package var traceparent: String

  package init(
    actor: String, peer: String = "", userAgent: String = "", correlationID: String = "",
    traceparent: String = ""
  ) {
    self.actor = actor
    self.peer = peer
    self.userAgent = userAgent
    self.correlationID = correlationID
    self.traceparent = traceparent
  }

  /// The origin of a change made by a call. The actor is who the caller has proved to be.
  package init(_ context: ServerContext) {
    self.init(
      actor: Self.bounded(context.identity?.name ?? Self.anonymous), peer: context.peer,
      userAgent: context.metadata["user-agent"] ?? "", correlationID: context.correlationID,
      traceparent: context.trace?.traceparent ?? "")
  }

  /// A certificate may name its owner at any length, an index may not hold it.
  private static func bounded(_ name: String) -> String {
    guard name.utf8.count > actorBytes else { return name }
    let cut = name.utf8.prefix(actorBytes - 3)
    return String(decoding: cut, as: UTF8.self) + "..."
  }

  /// At most this much of an identity's name is kept.
  package static let actorBytes = 1_024

  /// The actor of a caller who has proved nothing.
  package static let anonymous = "anonymous"

  /// The origin of a change that the server makes by itself.
  package static func system(correlationID: String = "") -> ChangeOrigin {
    ChangeOrigin(actor: "system", correlationID: correlationID)
  }
}

/// A JSON text, already encoded, so that the writer's thread need not do it.
package struct JSONText: Sendable, Hashable {
  package let text: String

  package init(_ value: JSONValue) {
    text = value.text
  }

  /// A text that is known to be JSON.
  package init(verbatim text: String) {
    self.text = text
  }

  package static let emptyObject = JSONText(verbatim: "{}")
}

/// What a change says about itself to the audit trail.
package struct AuditDraft: Sendable, Hashable {
  /// What was done, `flag.toggle` for example.
  package var action: String
  package var entityType: String
  package var entityID: String
  /// The entity before the change; nil when it was created.
  package var before: JSONText?
  /// The entity after the change; nil when it was deleted.
  package var after: JSONText?
  /// What else there is to say, a JSON object.
  package var attributes: JSONText?
  /// What retention goes by.
  package var category: String
  package var outcome: AuditEntry.Outcome

  package init(
    action: String, entityType: String, entityID: String, before: JSONText? = nil,
    after: JSONText? = nil, attributes: JSONText? = nil, category: String = "change",
    outcome: AuditEntry.Outcome = .success
  ) {
    self.action = action
    self.entityType = entityType
    self.entityID = entityID
    self.before = before
    self.after = after
    self.attributes = attributes
    self.category = category
    self.outcome = outcome
  }

  /// The entry of a change, without its place in the chain.
  func entry(at time: UnixTime, revision: Int64, origin: ChangeOrigin) -> AuditEntry {
    AuditEntry(
      id: UUIDv7.make(at: time), time: time, revision: revision, actor: origin.actor,
      action: action, entityType: entityType, entityID: entityID, before: before?.text,
      after: after?.text, attributes: attributes?.text, category: category, outcome: outcome,
      correlationID: origin.correlationID, peer: origin.peer, userAgent: origin.userAgent)
  }
}

/// What a change tells its watchers.
package struct EventDraft: Sendable, Hashable {
  /// The CloudEvents type, `keelson.flags.FeatureFlagCreated` for example.
  package var type: String
  /// What it is about, `default/checkout` for example.
  package var subject: String
  /// CloudEvents data.
  package var data: JSONText
  /// Bytes for the service's own watchers, opaque to the store.
  package var payload: [UInt8]

  package init(
    type: String, subject: String, data: JSONText = .emptyObject, payload: [UInt8] = []
  ) {
    self.type = type
    self.subject = subject
    self.data = data
    self.payload = payload
  }
}

/// An event whose transaction is durable.
package struct CommittedEvent: Sendable, Hashable {
  /// Its number in the order of all changes: 1, 2, 3, ... without a gap.
  package var revision: Int64
  package var time: UnixTime
  package var type: String
  package var subject: String
  package var data: JSONText
  package var payload: [UInt8]
  package var actor: String
  package var correlationID: String
  package var traceparent: String

  package init(
    revision: Int64, time: UnixTime, type: String, subject: String, data: JSONText,
    payload: [UInt8], actor: String, correlationID: String, traceparent: String = ""
  ) {
    self.revision = revision
    self.time = time
    self.type = type
    self.subject = subject
    self.data = data
    self.payload = payload
    self.actor = actor
    self.correlationID = correlationID
    self.traceparent = traceparent
  }
}
