import KeelsonAPI
import KeelsonCore
import KeelsonStore

// Events in the form that leaves the server. Source: CloudEvents 1.0, its protobuf format, and its
// extensions "Sequence", "Correlation" and "Distributed Tracing".
// docs/decisions/0023-events-are-cloudevents.md says what maps to what.

extension IoCloudeventsV1.CloudEvent {
  /// A durable event. Its payload for the service's own watchers stays here.
  init(_ event: CommittedEvent, source: String) {
    self.init(
      id: UUIDv7(at: event.time, random: UInt64(bitPattern: event.revision)).text,
      source: source, type: event.type, subject: event.subject, time: event.time,
      data: event.data, actor: event.actor, correlationID: event.correlationID,
      traceparent: event.traceparent)
    attributes["sequence"] = .init(attr: .ceString(Self.sequence(event.revision)))
  }

  init(_ event: TelemetryEvent, source: String) {
    self.init(
      id: event.id, source: source, type: event.type, subject: event.subject, time: event.time,
      data: event.data, actor: event.actor, correlationID: event.correlationID,
      traceparent: event.traceparent)
  }

  private init(
    id: String, source: String, type: String, subject: String, time: UnixTime, data: JSONText,
    actor: String, correlationID: String, traceparent: String
  ) {
    self.init(id: id, source: source, specVersion: "1.0", type: type)
    attributes["time"] = .init(attr: .ceTimestamp(GoogleProtobuf.Timestamp(time)))
    attributes["datacontenttype"] = .init(attr: .ceString("application/json"))
    // An attribute without a value is left out: CloudEvents allows no empty ones.
    for (name, value) in [
      ("subject", subject), ("actor", actor), ("correlationid", correlationID),
      ("traceparent", traceparent),
    ] where !value.isEmpty {
      attributes[name] = .init(attr: .ceString(value))
    }
    self.data = .textData(data.text)
  }

  /// A revision as text that sorts as the numbers do: the sequence extension asks for that.
  static func sequence(_ revision: Int64) -> String {
    let digits = String(revision)
    return String(repeating: "0", count: max(0, 19 - digits.count)) + digits
  }
}
