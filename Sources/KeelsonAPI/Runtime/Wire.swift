internal import CProtobufC
package import KeelsonCore
internal import KeelsonProtoC

/// Messages to and from their encoding. libprotobuf-c does the work, in an arena, and what comes
/// in is scanned first.
package enum Wire {
  // Neither is inlined: the arena's first piece would stand in the frame of an async caller, which
  // lives on the heap.

  /// - Throws: ``RPCError`` with code INVALID_ARGUMENT.
  @inline(never)
  package static func decode<M: WireMessage>(_ bytes: [UInt8], limits: DecodingLimits)
    throws(RPCError) -> M
  {
    if bytes.isEmpty { return M() }
    let outcome: Result<M, RPCError> = unsafe bytes.withUnsafeBytes { buffer in
      do throws(RPCError) {
        return .success(try unsafe decode(buffer, limits: limits))
      } catch {
        return .failure(error)
      }
    }
    return try outcome.get()
  }

  private static func decode<M: WireMessage>(
    _ buffer: UnsafeRawBufferPointer, limits: DecodingLimits
  ) throws(RPCError) -> M {
    let table = unsafe M.wireTable
    try unsafe Scan.check(buffer, as: table, limits: limits)
    return try Arena.withArena(limit: arenaBytes(limits)) { arena throws(RPCError) in
      guard
        let message = unsafe protobuf_c_message_unpack(
          table.pointee.descriptor, arena.allocator, buffer.count,
          buffer.baseAddress?.assumingMemoryBound(to: UInt8.self))
      else {
        throw RPCError(.invalidArgument, "\(M.fullName): the bytes are no valid encoding of it.")
      }
      return unsafe M(wire: UnsafeRawPointer(message))
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

  @inline(never)
  package static func encode<M: WireMessage>(_ message: M) -> [UInt8] {
    Arena.withArena(limit: .max) { arena in
      let wire = unsafe arena.makeStruct(M.wireTable)
      unsafe message.write(to: wire, in: arena)
      let base = unsafe UnsafePointer(wire.assumingMemoryBound(to: ProtobufCMessage.self))
      let size = unsafe protobuf_c_message_get_packed_size(base)
      if size == 0 { return [] }
      return unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        count = unsafe protobuf_c_message_pack(base, buffer.baseAddress)
      }
    }
  }
}
