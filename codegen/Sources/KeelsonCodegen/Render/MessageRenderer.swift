/// Renders messages as Swift structs, and their ways to and from the C structs of protobuf-c.
struct MessageRenderer {
  /// Adds the struct with what nests in it.
  func render(_ message: MessageModel, into out: inout SourceWriter) {
    out.doc(message.comment)
    out.block("public struct \(message.swiftName): KeelsonAPI.Message {") { out in
      for property in message.properties {
        out.doc(property.comment)
        if case .message(let field, isBoxed: true) = property.shape {
          out.block("public var \(property.name): \(property.type) {") { out in
            out.line("get { \(boxName(property))?.value }")
            out.line("set { \(boxName(property)) = newValue.map(KeelsonAPI.Box.init) }")
          }
          out.line("private var \(boxName(property)): KeelsonAPI.Box<\(field.swiftType)>?")
        } else {
          out.line("public var \(property.name): \(property.type)")
        }
      }
      out.line("/// Fields that this version of the message does not know, kept as they came.")
      out.line("public var unknownFields = KeelsonAPI.UnknownFields()")
      initializers(message, into: &out)
      for property in message.properties {
        guard case .oneof(let oneof) = property.shape else { continue }
        out.line()
        render(oneof, into: &out)
      }
      for type in message.enums {
        out.line()
        EnumRenderer().render(type, into: &out)
      }
      for nested in message.messages {
        out.line()
        render(nested, into: &out)
      }
    }
  }

  private func initializers(_ message: MessageModel, into out: inout SourceWriter) {
    out.line()
    out.block("public init() {") { out in
      for property in message.properties {
        out.line("\(storedName(property)) = \(property.initialValue)")
      }
    }
    if !message.properties.isEmpty {
      out.line()
      out.block("public init(", close: ") {") { out in
        for (index, property) in message.properties.enumerated() {
          let comma = index + 1 < message.properties.count ? "," : ""
          out.line("\(property.name): \(property.type) = \(property.initialValue)\(comma)")
        }
      }
      out.indented { out in
        for property in message.properties {
          if case .message(_, isBoxed: true) = property.shape {
            out.line("\(boxName(property)) = \(property.name).map(KeelsonAPI.Box.init)")
          } else {
            out.line("self.\(property.name) = \(property.name)")
          }
        }
      }
      out.line("}")
    }
    out.line()
    out.block(
      "public init(decoding bytes: [Swift.UInt8], limits: KeelsonAPI.DecodingLimits) "
        + "throws(KeelsonCore.RPCError) {"
    ) { out in
      out.line("self.init()")
      out.block("try unsafe KeelsonAPI.Wire.unpack(bytes, as: Self.wireTable, limits: limits) {") {
        $0.line("unsafe self = Self(wire: $0)")
      }
    }
    out.line()
    out.block("public func encoded() -> [Swift.UInt8] {") { out in
      out.block("unsafe KeelsonAPI.Wire.pack(Self.wireTable) {") {
        $0.line("unsafe self.write(to: $0, in: $1)")
      }
    }
    out.line()
    out.line("public static var fullName: Swift.String { \"\(message.fullName)\" }")
  }

  private func render(_ oneof: OneofModel, into out: inout SourceWriter) {
    out.doc(oneof.comment)
    let keyword = oneof.isIndirect ? "indirect enum" : "enum"
    out.block("public \(keyword) \(oneof.swiftName): Swift.Sendable, Swift.Hashable {") { out in
      for member in oneof.members {
        out.doc(member.comment)
        out.line("case \(member.caseName)(\(member.field.swiftType))")
      }
    }
  }

  private func boxName(_ property: PropertyModel) -> String {
    "boxed" + Names.upperCamel(property.name.filter { $0 != "`" })
  }

  private func storedName(_ property: PropertyModel) -> String {
    if case .message(_, isBoxed: true) = property.shape { return boxName(property) }
    return "self.\(property.name)"
  }
}
