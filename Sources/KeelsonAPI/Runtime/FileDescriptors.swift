internal import KeelsonProtoC

/// The definitions of all messages and services, as server reflection hands them out.
package enum FileDescriptors {
  /// All of proto/ as a serialized `google.protobuf.FileDescriptorSet`, without comments; each
  /// file after those it imports.
  package static var serializedSet: [UInt8] {
    unsafe Array(
      UnsafeBufferPointer(
        start: keelson_file_descriptor_set_start(), count: keelson_file_descriptor_set_bytes))
  }
}
