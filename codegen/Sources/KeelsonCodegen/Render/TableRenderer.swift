/// Renders the C tables by which the scan of incoming bytes knows each message.
struct TableRenderer {
  let header: String

  init(protoName: String) {
    header = TableRenderer.path(protoName, "tables.h")
  }

  static func path(_ protoName: String, _ ending: String) -> String {
    "\(protoName.dropLast(".proto".count)).\(ending)"
  }

  func renderHeader(_ file: FileModel) -> String {
    var out = SourceWriter()
    out.line(FileRenderer.banner(file.name))
    out.line("#pragma once")
    out.line("#include \"message_table.h\"")
    out.line("#include \"\(TableRenderer.path(file.name, "pb-c.h"))\"")
    for message in messages(file) {
      out.line()
      out.line("extern const keelson_message_table \(message.cPrefix)__table_data;")
      out.line("static inline const keelson_message_table *\(message.cPrefix)__table(void) {")
      out.line("  return &\(message.cPrefix)__table_data;")
      out.line("}")
    }
    return out.text
  }

  func renderSource(_ file: FileModel) -> String {
    var out = SourceWriter()
    out.line(FileRenderer.banner(file.name))
    out.line("#include \"\(header)\"")
    for dependency in file.dependencies {
      out.line("#include \"\(TableRenderer.path(dependency, "tables.h"))\"")
    }
    for message in messages(file) {
      out.line()
      let fields = "\(message.cPrefix)__table_fields"
      if !message.fields.isEmpty {
        out.block("static const keelson_field \(fields)[] = {", close: "};") { out in
          for field in message.fields {
            let table = field.messageName.map { "&\(Names.cFunctionPrefix($0))__table_data" }
            out.line(
              "{\(field.number), KEELSON_\(kind(field)), \(field.isRepeated ? 1 : 0), "
                + "\"\(field.name)\", \(table ?? "NULL")},")
          }
        }
      }
      out.block("const keelson_message_table \(message.cPrefix)__table_data = {", close: "};") {
        $0.line(
          "\"\(message.fullName)\", \(message.fields.count), "
            + "\(message.fields.isEmpty ? "NULL" : fields), &\(message.cPrefix)__descriptor,")
      }
    }
    return out.text
  }

  private func messages(_ file: FileModel) -> [MessageModel] {
    file.allMessages.flatMap { [$0] + $0.mapEntries }
  }

  private func kind(_ field: FieldModel) -> String {
    switch field.kind {
    case .double, .fixed64, .sfixed64: "FIXED64"
    case .float, .fixed32, .sfixed32: "FIXED32"
    case .string: "STRING"
    case .bytes: "BYTES"
    case .message, .group: "MESSAGE"
    default: "VARINT"
    }
  }
}
