package import CProtobufC

/// The parts that generated code reads C structs with. All of them copy.
extension Wire {
  package static func string(_ data: ProtobufCBinaryData) -> String {
    guard let start = unsafe data.data, unsafe data.len > 0 else { return "" }
    return unsafe String(
      decoding: UnsafeBufferPointer(start: start, count: data.len), as: UTF8.self)
  }

  package static func bytes(_ data: ProtobufCBinaryData) -> [UInt8] {
    guard let start = unsafe data.data, unsafe data.len > 0 else { return [] }
    return unsafe Array(UnsafeBufferPointer(start: start, count: data.len))
  }

  /// A map from its entries; of several with one key the last counts, as protobuf demands.
  package static func dictionary<CEntry, Key: Hashable, Value>(
    _ start: UnsafeMutablePointer<UnsafeMutablePointer<CEntry>?>?, _ count: Int,
    _ convert: (UnsafeMutablePointer<CEntry>) -> (Key, Value)
  ) -> [Key: Value] {
    if count == 0 { return [:] }
    var map = [Key: Value](minimumCapacity: count)
    guard let start = unsafe start else { return map }
    for index in 0..<count {
      guard let entry = unsafe start[index] else { continue }
      let (key, value) = unsafe convert(entry)
      map[key] = value
    }
    return map
  }

  package static func unknownFields(_ base: ProtobufCMessage) -> UnknownFields {
    if unsafe base.n_unknown_fields == 0 { return UnknownFields() }
    let fields = unsafe UnsafeBufferPointer(
      start: base.unknown_fields, count: Int(base.n_unknown_fields))
    return unsafe UnknownFields(
      fields.map { field in
        unsafe UnknownFields.Field(
          number: field.tag, wireType: UInt8(truncatingIfNeeded: field.wire_type.rawValue),
          bytes: Array(UnsafeBufferPointer(start: field.data, count: field.len)))
      })
  }
}
