/// Renders a message's way to JSON. The well-known types have theirs written by hand.
struct JSONRenderer {
  func render(_ message: MessageModel, into out: inout SourceWriter) {
    out.block("extension \(message.swiftPath) {") { out in
      out.block("public var json: JSONValue {") { out in
        guard !message.properties.isEmpty else {
          out.line(".object([:])")
          return
        }
        out.line("var members: [Swift.String: JSONValue] = [:]")
        for property in message.properties { member(property, into: &out) }
        out.line("return .object(members)")
      }
    }
  }

  private func member(_ property: PropertyModel, into out: inout SourceWriter) {
    switch property.shape {
    case .plain(let field):
      out.line("members[\"\(field.name)\"] = \(value(field, property.name))")
    case .optional(let field, _), .message(let field, _):
      out.line(
        "if let value = \(property.name) { members[\"\(field.name)\"] = \(value(field, "value")) }")
    case .repeated(let field):
      out.line(
        "members[\"\(field.name)\"] = .array(\(property.name).map { \(value(field, "$0")) })")
    case .map(let field, _, let element):
      out.line(
        "members[\"\(field.name)\"] = .object(.init(uniqueKeysWithValues: \(property.name).map { "
          + "(\"\\($0.key)\", \(value(element, "$0.value"))) }))")
    case .oneof(let oneof):
      out.block("switch \(property.name) {") { out in
        for oneofMember in oneof.members {
          let field = oneofMember.field
          out.line(
            "case .\(oneofMember.caseName)(let value): "
              + "members[\"\(field.name)\"] = \(value(field, "value"))")
        }
        out.line("case nil: break")
      }
    }
  }

  private func value(_ field: FieldModel, _ source: String) -> String {
    switch field.kind {
    case .string: ".string(\(source))"
    case .bool: ".bool(\(source))"
    case .bytes: "JSONValue(base64: \(source))"
    case .enum, .message, .group: "\(source).json"
    default: "JSONValue(number: \(source))"
    }
  }
}
