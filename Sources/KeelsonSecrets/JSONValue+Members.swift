import KeelsonCore

extension JSONValue {
  /// A member of an object; nil when this is none, or has no such member.
  subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members[name]
  }

  var stringValue: String? {
    guard case .string(let text) = self else { return nil }
    return text
  }

  var numberValue: Double? {
    guard case .number(let number) = self else { return nil }
    return number
  }

  var boolValue: Bool? {
    guard case .bool(let value) = self else { return nil }
    return value
  }

  var arrayValue: [JSONValue]? {
    guard case .array(let values) = self else { return nil }
    return values
  }
}

extension HTTPResponse {
  /// The body as JSON; nil when it is none.
  var json: JSONValue? {
    guard let text = body.validText else { return nil }
    return try? JSONValue(parsing: text)
  }
}
