package import CProtobufC
package import KeelsonProtoC

/// The parts that generated code fills C structs with. What they return lives in the arena, or in
/// the message that is packed.
extension Arena {
  package func copy(_ text: String) -> ProtobufCBinaryData {
    if text.isEmpty { return unsafe ProtobufCBinaryData() }
    var text = text
    return text.withUTF8 { unsafe copy(UnsafeRawBufferPointer($0)) }
  }

  /// Bytes of a message that is being packed. From this many on they are not copied but pointed
  /// to: their array lies on the heap, and the message holds it until it is packed.
  private static let borrowedBytes = 1_024

  package func copy(_ bytes: [UInt8]) -> ProtobufCBinaryData {
    if bytes.isEmpty { return unsafe ProtobufCBinaryData() }
    return unsafe bytes.withUnsafeBytes { bytes in
      if bytes.count < Self.borrowedBytes { return unsafe copy(bytes) }
      // protobuf-c only reads what it packs.
      let start = unsafe UnsafeMutableRawPointer(mutating: bytes.baseAddress)
      return unsafe ProtobufCBinaryData(
        len: bytes.count, data: start?.assumingMemoryBound(to: UInt8.self))
    }
  }

  private func copy(_ source: UnsafeRawBufferPointer) -> ProtobufCBinaryData {
    let memory = unsafe allocate(bytes: source.count)
    unsafe UnsafeMutableRawBufferPointer(start: memory, count: source.count).copyMemory(
      from: source)
    return unsafe ProtobufCBinaryData(
      len: source.count, data: memory.assumingMemoryBound(to: UInt8.self))
  }

  /// A C struct with the fields of a message.
  ///
  /// `CMessage` must be the struct of `M`; the field it is assigned to says so.
  package func make<M: WireMessage, CMessage>(_ message: M) -> UnsafeMutablePointer<CMessage> {
    let memory = unsafe makeStruct(M.wireTable)
    unsafe message.write(to: memory, in: self)
    return unsafe memory.assumingMemoryBound(to: CMessage.self)
  }

  func makeStruct(_ table: UnsafePointer<keelson_message_table>) -> UnsafeMutableRawPointer {
    // Every generated table names its descriptor.
    guard let descriptor = unsafe table.pointee.descriptor else { preconditionFailure() }
    let memory = unsafe allocate(bytes: descriptor.pointee.sizeof_message)
    unsafe descriptor.pointee.message_init(memory.assumingMemoryBound(to: ProtobufCMessage.self))
    return unsafe memory
  }

  package func array<Element>(_ values: [Element]) -> UnsafeMutablePointer<Element>? {
    unsafe array(values) { $0 }
  }

  package func array<Element, CElement>(_ values: [Element], _ convert: (Element) -> CElement)
    -> UnsafeMutablePointer<CElement>?
  {
    if values.isEmpty { return nil }
    let memory = unsafe allocate(bytes: values.count * MemoryLayout<CElement>.stride)
      .bindMemory(to: CElement.self, capacity: values.count)
    for (index, value) in values.enumerated() {
      unsafe (memory + index).initialize(to: convert(value))
    }
    return unsafe memory
  }

  package func messages<M: WireMessage, CMessage>(_ messages: [M])
    -> UnsafeMutablePointer<UnsafeMutablePointer<CMessage>?>?
  {
    unsafe array(messages) { unsafe make($0) }
  }

  /// The entries of a map, by key, so that equal maps have equal encodings.
  package func entries<Key: Hashable & Comparable, Value, CEntry>(
    _ map: [Key: Value], _ table: UnsafePointer<keelson_message_table>,
    _ fill: (UnsafeMutablePointer<CEntry>, Key, Value) -> Void
  ) -> UnsafeMutablePointer<UnsafeMutablePointer<CEntry>?>? {
    if map.isEmpty { return nil }
    let sorted = map.count == 1 ? Array(map) : map.sorted { $0.key < $1.key }
    return unsafe entries(sorted, table, fill)
  }

  /// The entries of a map with boolean keys.
  package func entries<Value, CEntry>(
    _ map: [Bool: Value], _ table: UnsafePointer<keelson_message_table>,
    _ fill: (UnsafeMutablePointer<CEntry>, Bool, Value) -> Void
  ) -> UnsafeMutablePointer<UnsafeMutablePointer<CEntry>?>? {
    unsafe entries(map.sorted { !$0.key && $1.key }, table, fill)
  }

  private func entries<Key, Value, CEntry>(
    _ pairs: [(key: Key, value: Value)], _ table: UnsafePointer<keelson_message_table>,
    _ fill: (UnsafeMutablePointer<CEntry>, Key, Value) -> Void
  ) -> UnsafeMutablePointer<UnsafeMutablePointer<CEntry>?>? {
    unsafe array(pairs) { pair in
      let entry = unsafe makeStruct(table).assumingMemoryBound(to: CEntry.self)
      unsafe fill(entry, pair.key, pair.value)
      return unsafe entry
    }
  }

  package func copy(_ unknownFields: UnknownFields, to base: inout ProtobufCMessage) {
    if unknownFields.isEmpty { return }
    unsafe base.n_unknown_fields = UInt32(unknownFields.fields.count)
    unsafe base.unknown_fields = array(unknownFields.fields) { field in
      let content = unsafe copy(field.bytes)
      return unsafe ProtobufCMessageUnknownField(
        tag: field.number, wire_type: ProtobufCWireType(rawValue: UInt32(field.wireType)),
        len: content.len, data: content.data)
    }
  }
}
