/// The descriptor set that protoc-gen-c gets to see: the same messages on the wire, in terms it
/// carries faithfully.
///
/// - `optional` becomes a oneof of one field, as protoc-gen-c refuses proto3 `optional`.
/// - `string` becomes `bytes`: its NUL-terminated strings end at an embedded NUL.
/// - Enums become `int32`: open by nature.
/// - `float` and `double` become `fixed32` and `fixed64`: it would drop a negative zero.
/// - Each field's name ends in its number, so that none meets a keyword or another's name in C.
/// - Map entries become plain messages: `bytes` cannot be a map's key.
/// - Packing is written out, comments, services and options are left out.
enum LoweredDescriptorSet {
  /// The name of a field in C.
  static func cName(_ field: FieldDescriptor) -> String {
    "\(field.name.lowercased())_\(field.number)"
  }

  /// The name of a oneof in C. That of an `optional` field's oneof is made up here.
  static func cName(oneof index: Int, of message: MessageDescriptor) -> String {
    for field in message.fields where field.oneofIndex == index && field.isProto3Optional {
      return "presence_\(field.number)"
    }
    return "\(message.oneofs[index].lowercased())_\(index)"
  }

  static func encode(_ files: [FileDescriptor]) -> [UInt8] {
    var set = WireWriter()
    for file in files { set.put(1) { encode(file, into: &$0) } }
    return set.bytes
  }

  private static func encode(_ file: FileDescriptor, into out: inout WireWriter) {
    out.put(1, file.name)
    out.put(2, file.package)
    for dependency in file.dependencies { out.put(3, dependency) }
    for message in file.messages { out.put(4) { encode(message, into: &$0) } }
    out.put(8) { options in
      // (pb_c_file) = { gen_pack_helpers: false, gen_init_helpers: true }
      options.put(1019) {
        $0.put(2, 0)
        $0.put(3, 1)
      }
    }
    out.put(12, "proto3")
  }

  private static func encode(_ message: MessageDescriptor, into out: inout WireWriter) {
    out.put(1, message.name)
    // A message has presence anyway, and needs no oneof to be optional.
    let withoutNeed = message.fields.filter { $0.isProto3Optional && $0.kind == .message }
    let oneofs = message.oneofs.indices.filter { index in
      !withoutNeed.contains { $0.oneofIndex == index }
    }
    for field in message.fields {
      let oneof = oneofs.firstIndex { $0 == field.oneofIndex }
      out.put(2) { encode(field, oneof: oneof, into: &$0) }
    }
    for nested in message.messages { out.put(3) { encode(nested, into: &$0) } }
    for index in oneofs {
      out.put(8) { $0.put(1, cName(oneof: index, of: message)) }
    }
  }

  private static func encode(
    _ field: FieldDescriptor, oneof: Int?, into out: inout WireWriter
  ) {
    let kind: FieldDescriptor.Kind =
      switch field.kind {
      case .string: .bytes
      case .enum: .int32
      case .float: .fixed32
      case .double: .fixed64
      default: field.kind
      }
    out.put(1, cName(field))
    out.put(3, field.number)
    out.put(4, field.isRepeated ? 3 : 1)
    out.put(5, kind.rawValue)
    if kind == .message { out.put(6, field.typeName) }
    if field.isRepeated, kind != .bytes, kind != .message {
      out.put(8) { $0.put(2, field.packedOption == false ? 0 : 1) }
    }
    if let oneof { out.put(9, oneof) }
  }
}
