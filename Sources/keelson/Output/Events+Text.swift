import KeelsonAPI
import KeelsonClient
import KeelsonCore

extension Event {
  /// What people see of an event that has just happened.
  var line: String {
    let number = revision.map { "\($0)" } ?? "-"
    var text = "\(number) \(time.map { "\($0)" } ?? "-") \(type) \(subject)"
    if !actor.isEmpty { text += " by \(actor)" }
    if case .object(let members) = data, members.isEmpty { return text.printable() }
    return "\(text) \(data.text)".printable()
  }

  /// What people see of one event.
  var sheet: String {
    var sheet = Sheet()
    sheet.add("revision", revision.map { "\($0)" } ?? "")
    sheet.add("type", type)
    sheet.add("subject", subject)
    sheet.add("time", time.map { "\($0)" } ?? "")
    sheet.add("actor", actor)
    sheet.add("correlation id", correlationID)
    sheet.add("traceparent", traceparent)
    sheet.add("source", source)
    sheet.add("id", id)
    sheet.add("data", data.text)
    return sheet.text
  }
}

extension EventPage {
  var json: JSONValue {
    var members: [String: JSONValue] = ["events": .array(events.map(\.json))]
    if let next { members["next_page_token"] = .string(next) }
    if let previous { members["previous_page_token"] = .string(previous) }
    return .object(members)
  }

  var table: String {
    guard !events.isEmpty else { return "No events." }
    var table = Table("REVISION", "TIME", "TYPE", "SUBJECT", "BY", "DATA")
    for event in events {
      table.add(
        event.revision.map { "\($0)" } ?? "-", event.time.map { "\($0)" } ?? "-", event.type,
        event.subject, event.actor, event.data.text)
    }
    return table.text + (next.map { "\n\nMore: --page-token \($0)" } ?? "")
  }
}

extension KeelsonEventsV1.ListEventTypesResponse {
  var table: String {
    var table = Table("TYPE", "KEPT", "WHEN")
    for type in eventTypes {
      table.add(type.name, type.class == .durable ? "yes" : "no", type.description)
    }
    return table.text
  }
}

extension KeelsonEventsV1.RetentionPolicy {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("max age", maxAge.map { Self.text(of: $0.seconds) } ?? "none")
    sheet.add("max count", maxCount == 0 ? "none" : "\(maxCount)")
    sheet.add("oldest kept", oldestRevision > currentRevision ? "none" : "\(oldestRevision)")
    sheet.add("newest", "\(currentRevision)")
    sheet.add("changed", updateTime == nil ? "" : updateTime.text)
    sheet.add("etag", etag)
    return sheet.text
  }

  /// In the largest unit that it is a whole number of.
  private static func text(of seconds: Int64) -> String {
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60)] as [(String, Int64)]
    where seconds % size == 0 && seconds > 0 {
      return "\(seconds / size)\(unit)"
    }
    return "\(seconds)s"
  }
}
