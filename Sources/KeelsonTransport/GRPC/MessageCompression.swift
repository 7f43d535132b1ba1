import CZlib
package import KeelsonCore

/// Deflates and inflates messages with gzip, one after the other. Confined to its loop, whose
/// calls share its two streams: each takes a quarter of a megabyte once it has been used.
@safe package final class MessageCompression {
  /// What zlib calls its default: a fair trade of time for size.
  private static let level: Int32 = 6
  /// The most room taken for a message before any of it has been inflated.
  private static let trustedBytes = 64 * 1024

  private var deflater: UnsafeMutablePointer<z_stream>?
  private var inflater: UnsafeMutablePointer<z_stream>?

  package init() {}

  deinit {
    if let deflater = unsafe deflater {
      unsafe deflateEnd(deflater)
      unsafe deflater.deallocate()
    }
    if let inflater = unsafe inflater {
      unsafe inflateEnd(inflater)
      unsafe inflater.deallocate()
    }
  }

  /// Deflates a message; nil when that does not make it smaller.
  package func deflate(_ message: [UInt8]) -> [UInt8]? {
    guard let stream = unsafe readyDeflater() else { return nil }
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: message.count) { room, count in
      unsafe message.withUnsafeBufferPointer { source in
        unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
        unsafe stream.pointee.avail_in = UInt32(source.count)
        unsafe stream.pointee.next_out = room.baseAddress
        unsafe stream.pointee.avail_out = UInt32(room.count)
        // Z_STREAM_END when it fits; Z_OK when there is no room left: the message stays as it is.
        let status = unsafe CZlib.deflate(stream, Z_FINISH)
        count = unsafe status == Z_STREAM_END ? room.count - Int(stream.pointee.avail_out) : 0
      }
    }
    return bytes.isEmpty ? nil : bytes
  }

  /// Inflates a message.
  ///
  /// - Throws: RESOURCE_EXHAUSTED as soon as the message proves longer than `maximumBytes`, INTERNAL
  ///   for bytes that are not one gzip stream.
  package func inflate(_ bytes: [UInt8], maximumBytes: Int) throws(RPCError) -> [UInt8] {
    guard let stream = unsafe readyInflater() else {
      throw RPCError(.resourceExhausted, "There is no memory to decompress a message with.")
    }
    var message: [UInt8] = []
    var status = Z_OK
    unsafe bytes.withUnsafeBufferPointer { source in
      unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
      unsafe stream.pointee.avail_in = UInt32(source.count)
      var room = min(max(bytes.count * 4, 1_024), Self.trustedBytes)
      while status == Z_OK, message.count <= maximumBytes {
        // One byte more than is allowed tells a message that is too long.
        room = min(room, maximumBytes + 1 - message.count)
        let piece = unsafe [UInt8](unsafeUninitializedCapacity: room) { room, count in
          unsafe stream.pointee.next_out = room.baseAddress
          unsafe stream.pointee.avail_out = UInt32(room.count)
          status = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
          count = unsafe room.count - Int(stream.pointee.avail_out)
        }
        if message.isEmpty { message = piece } else { message.append(contentsOf: piece) }
        room = max(message.count, room)
      }
    }
    guard message.count <= maximumBytes else {
      throw RPCError(
        .resourceExhausted,
        "A compressed message is longer than the limit of \(maximumBytes) bytes.")
    }
    // Z_DATA_ERROR, Z_NEED_DICT; Z_BUF_ERROR when the input ends too early.
    guard status == Z_STREAM_END, unsafe stream.pointee.avail_in == 0 else {
      throw RPCError(
        .internalError, "A message is flagged as compressed with gzip, but is no gzip stream.")
    }
    return message
  }

  private func readyDeflater() -> UnsafeMutablePointer<z_stream>? {
    if let stream = unsafe deflater {
      return unsafe deflateReset(stream) == Z_OK ? stream : nil
    }
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    // Z_MEM_ERROR: the message goes out as it is.
    guard unsafe keelson_gzip_deflate_init(stream, Self.level) == Z_OK else {
      unsafe stream.deallocate()
      return nil
    }
    unsafe deflater = stream
    return unsafe stream
  }

  private func readyInflater() -> UnsafeMutablePointer<z_stream>? {
    if let stream = unsafe inflater {
      return unsafe inflateReset(stream) == Z_OK ? stream : nil
    }
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    guard unsafe keelson_gzip_inflate_init(stream) == Z_OK else {
      unsafe stream.deallocate()
      return nil
    }
    unsafe inflater = stream
    return unsafe stream
  }
}
