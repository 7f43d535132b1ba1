public import KeelsonCore

extension Event {
  /// The event in the JSON form of CloudEvents 1.0. Source: CloudEvents, "JSON Event Format".
  public var json: JSONValue {
    var members: [String: JSONValue] = [
      "specversion": "1.0", "id": .string(id), "source": .string(source), "type": .string(type),
      "datacontenttype": "application/json", "data": data,
    ]
    if let time { members["time"] = .string(time.description) }
    // Text that sorts as the numbers do, as the extension asks for.
    if let revision {
      let digits = String(revision)
      members["sequence"] = .string(
        String(repeating: "0", count: max(0, 19 - digits.count)) + digits)
    }
    for (name, value) in [
      ("subject", subject), ("actor", actor), ("correlationid", correlationID),
      ("traceparent", traceparent),
    ] where !value.isEmpty {
      members[name] = .string(value)
    }
    return .object(members)
  }
}
