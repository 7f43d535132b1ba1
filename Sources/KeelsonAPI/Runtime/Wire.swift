internal import CProtobufC
package import KeelsonCore
package import KeelsonProtoC

/// Messages to and from their encoding. libprotobuf-c does the work, in an arena, and what comes
/// in is scanned first.
///
/// Nothing here is generic, nor is generated code that calls it: a message's type would be looked
/// up at run time in each call, which took half of the time of a stream of small messages.
package enum Wire {
  // Neither is inlined: the arena's first piece would stand in the frame of an
  // async caller, which lives on the heap.

  /// Decodes a message, unless there are no bytes: hands on its C struct, which is gone after that.
  ///
  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT.
  @inline(never)
  package static func unpack(
    _ bytes: [UInt8], as table: UnsafePointer<keelson_message_table>, limits: DecodingLimits,
    _ read: (UnsafeRawPointer) -> Void
  ) throws(RPCError) {
    if bytes.isEmpty { return }
    let failure: RPCError? = unsafe bytes.withUnsafeBytes { buffer in
      do throws(RPCError) {
        try unsafe Scan.check(buffer, as: table, limits: limits)
      } catch {
        return error
      }
      return Arena.withArena(limit: arenaBytes(limits)) { arena in
        guard
          let message = unsafe protobuf_c_message_unpack(
            table.pointee.descriptor, arena.allocator, buffer.count,
            buffer.baseAddress?.assumingMemoryBound(to: UInt8.self))
        else {
          let name = unsafe table.pointee.descriptor.map { unsafe String(cString: $0.pointee.name) }
          return RPCError(
            .invalidArgument, "\(name ?? "A message"): the bytes are no valid encoding of it.")
        }
        unsafe read(UnsafeRawPointer(message))
        return nil
      }
    }
    if let failure { throw failure }
  }

  /// The encoding of a message whose C struct is filled by `write`. The struct may point into the
  /// message: the caller holds that until this returns.
  @inline(never)
  package static func pack(
    _ table: UnsafePointer<keelson_message_table>,
    _ write: (_ wire: UnsafeMutableRawPointer, _ arena: Arena) -> Void
  ) -> [UInt8] {
    Arena.withArena(limit: .max) { arena in
      let wire = unsafe arena.makeStruct(table)
      unsafe write(wire, arena)
      let base = unsafe UnsafePointer(wire.assumingMemoryBound(to: ProtobufCMessage.self))
      let size = unsafe protobuf_c_message_get_packed_size(base)
      if size == 0 { return [] }
      return unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        count = unsafe protobuf_c_message_pack(base, buffer.baseAddress)
      }
    }
  }

  /// What the C structs of a message within the limits can take: 8 times the bytes of packed
  /// numbers, and for each field 512 bytes (its struct, its place in an array, and protobuf-c's
  /// own note of it), doubled for the arrays that merging leaves behind.
  private static func arenaBytes(_ limits: DecodingLimits) -> Int {
    let (bytes, overflow) = limits.maximumBytes.multipliedReportingOverflow(by: 8)
    let (fields, overflow2) = limits.maximumFields.multipliedReportingOverflow(by: 1024)
    let (sum, overflow3) = bytes.addingReportingOverflow(fields)
    return overflow || overflow2 || overflow3 ? Int.max : sum
  }
}
