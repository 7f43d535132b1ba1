/// Renders the ways of a message from and to the C struct that protoc-gen-c made of it.
struct WireRenderer {
  func render(_ message: MessageModel, into out: inout SourceWriter) {
    out.block("extension \(message.swiftPath): WireMessage {") { out in
      out.block("package static var wireTable: UnsafePointer<keelson_message_table> {") {
        $0.line("unsafe \(message.cPrefix)__table()")
      }
      out.line()
      out.block("package init(wire: UnsafeRawPointer) {") { out in
        out.line("self.init()")
        out.line("let c = unsafe wire.assumingMemoryBound(to: \(message.cType).self)")
        for property in message.properties { read(property, into: &out) }
        out.line("unsafe self.unknownFields = Wire.unknownFields(c.pointee.base)")
      }
      out.line()
      out.block("package func write(to wire: UnsafeMutableRawPointer, in arena: Arena) {") { out in
        out.line("let c = unsafe wire.assumingMemoryBound(to: \(message.cType).self)")
        for property in message.properties { write(property, into: &out) }
        out.line("unsafe arena.copy(self.unknownFields, to: &c.pointee.base)")
      }
    }
  }

  // MARK: From C

  private func read(_ property: PropertyModel, into out: inout SourceWriter) {
    switch property.shape {
    case .plain(let field):
      out.line("unsafe self.\(property.name) = \(value(field, "c.pointee.\(field.cName)"))")
    case .optional(let field, let cOneof):
      out.block("if unsafe c.pointee.\(cOneof)_case.rawValue == \(field.number) {") {
        $0.line("unsafe self.\(property.name) = \(value(field, "c.pointee.\(field.cName)"))")
      }
    case .message(let field, _):
      out.line("unsafe self.\(property.name) = \(value(field, "c.pointee.\(field.cName)"))")
    case .repeated(let field):
      let pointer = "c.pointee.\(field.cName)"
      let source = "UnsafeBufferPointer(start: \(pointer), count: c.pointee.n_\(field.cName))"
      // What is generic in the standard library is made for the type at hand; ours would not be.
      let array =
        switch field.kind {
        case .message: "\(source).map { unsafe \(value(field, "$0")) ?? \(field.zero) }"
        case .string, .bytes: "\(source).map { unsafe \(value(field, "$0")) }"
        case .bool, .float, .double, .enum: "\(source).map { \(value(field, "$0")) }"
        default: "Swift.Array(\(source))"
        }
      out.line("unsafe self.\(property.name) = \(array)")
    case .map(let field, let key, let element):
      let source = "c.pointee.\(field.cName), c.pointee.n_\(field.cName)"
      out.block("unsafe self.\(property.name) = Wire.dictionary(\(source)) {") { out in
        let key = value(key, "$0.pointee.\(key.cName)")
        let fallback = element.kind == .message ? " ?? \(element.zero)" : ""
        let element = value(element, "$0.pointee.\(element.cName)")
        out.line("unsafe (\(key), \(element)\(fallback))")
      }
    case .oneof(let oneof):
      out.line("switch unsafe c.pointee.\(oneof.cName)_case.rawValue {")
      for member in oneof.members {
        let field = member.field
        let fallback = field.kind == .message ? " ?? \(field.zero)" : ""
        out.line("case \(field.number):")
        out.line(
          "  unsafe self.\(property.name) = .\(member.caseName)("
            + "\(value(field, "c.pointee.\(field.cName)"))\(fallback))")
      }
      out.line("default: break")
      out.line("}")
    }
  }

  /// The Swift value of a C value.
  private func value(_ field: FieldModel, _ source: String) -> String {
    switch field.kind {
    case .string: "Wire.string(\(source))"
    case .bytes: "Wire.bytes(\(source))"
    case .bool: "\(source) != 0"
    case .float, .double: "\(field.swiftType)(bitPattern: \(source))"
    case .enum: "\(field.swiftType)(rawValue: \(source))"
    case .message: "\(source).map { unsafe \(field.swiftType)(wire: $0) }"
    default: source
    }
  }

  // MARK: To C

  private func write(_ property: PropertyModel, into out: inout SourceWriter) {
    switch property.shape {
    case .plain(let field):
      out.line("unsafe c.pointee.\(field.cName) = \(wire(field, "self.\(property.name)"))")
    case .optional(let field, let cOneof):
      out.block("if let value = self.\(property.name) {") { out in
        out.line("unsafe c.pointee.\(cOneof)_case = .init(rawValue: \(field.number))")
        out.line("unsafe c.pointee.\(field.cName) = \(wire(field, "value"))")
      }
    case .message(let field, _):
      out.block("if let value = self.\(property.name) {") {
        $0.line("unsafe c.pointee.\(field.cName) = arena.make(value)")
      }
    case .repeated(let field):
      out.line("unsafe c.pointee.n_\(field.cName) = self.\(property.name).count")
      let source =
        switch field.kind {
        case .message: "arena.messages(self.\(property.name))"
        case .string, .bytes: "arena.array(self.\(property.name)) { unsafe \(wire(field, "$0")) }"
        case .bool, .float, .double, .enum:
          "arena.array(self.\(property.name)) { \(wire(field, "$0")) }"
        default: "arena.array(self.\(property.name))"
        }
      out.line("unsafe c.pointee.\(field.cName) = \(source)")
    case .map(let field, let key, let element):
      out.line("unsafe c.pointee.n_\(field.cName) = self.\(property.name).count")
      let table = Names.cFunctionPrefix(field.messageName ?? "")
      out.block(
        "unsafe c.pointee.\(field.cName) = arena.entries(self.\(property.name), \(table)__table()) {",
        close: "}"
      ) { out in
        let cType = Names.cType(field.messageName ?? "")
        out.line("(entry: UnsafeMutablePointer<\(cType)>, key, value) in")
        out.line("unsafe entry.pointee.\(key.cName) = \(wire(key, "key"))")
        out.line("unsafe entry.pointee.\(element.cName) = \(wire(element, "value"))")
      }
    case .oneof(let oneof):
      out.line("switch self.\(property.name) {")
      for member in oneof.members {
        out.line("case .\(member.caseName)(let value):")
        out.line("  unsafe c.pointee.\(oneof.cName)_case = .init(rawValue: \(member.field.number))")
        out.line("  unsafe c.pointee.\(member.field.cName) = \(wire(member.field, "value"))")
      }
      out.line("case nil: break")
      out.line("}")
    }
  }

  /// The C value of a Swift value.
  private func wire(_ field: FieldModel, _ source: String) -> String {
    switch field.kind {
    case .string, .bytes: "arena.copy(\(source))"
    case .bool: "\(source) ? 1 : 0"
    case .float, .double: "\(source).bitPattern"
    case .enum: "\(source).rawValue"
    case .message: "arena.make(\(source))"
    default: source
    }
  }
}
