import CZlib

/// Compresses what comes piece by piece, as one gzip file (RFC 1952). For one task at a time.
@safe package final class GzipCompressor {
  private let stream: UnsafeMutablePointer<z_stream>

  /// - Throws: ``AuditFileError`` when there is no memory.
  package init() throws(AuditFileError) {
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    // Z_OK or Z_MEM_ERROR.
    guard unsafe keelson_gzip_deflate_init(stream, 6) == Z_OK else {
      unsafe stream.deallocate()
      throw AuditFileError("There is no memory to compress with.")
    }
    unsafe self.stream = unsafe stream
  }

  deinit {
    unsafe deflateEnd(stream)
    unsafe stream.deallocate()
  }

  /// - Parameter isLast: ends the file; nothing may follow.
  /// - Returns: what of the file is ready.
  package func compress(_ bytes: [UInt8], isLast: Bool = false) -> [UInt8] {
    var output: [UInt8] = []
    unsafe bytes.withUnsafeBufferPointer { source in
      unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
      unsafe stream.pointee.avail_in = UInt32(source.count)
      var isFull = true
      // There is more as long as a piece gets full.
      while isFull {
        let piece = unsafe [UInt8](unsafeUninitializedCapacity: 64 << 10) { room, count in
          unsafe stream.pointee.next_out = room.baseAddress
          unsafe stream.pointee.avail_out = UInt32(room.count)
          // Z_STREAM_ERROR only for a stream that is not set up.
          _ = unsafe deflate(stream, isLast ? Z_FINISH : Z_NO_FLUSH)
          count = unsafe room.count - Int(stream.pointee.avail_out)
          isFull = unsafe stream.pointee.avail_out == 0
        }
        output += piece
      }
    }
    return output
  }
}

/// The opposite. For one task at a time.
@safe package final class GzipDecompressor {
  private let stream: UnsafeMutablePointer<z_stream>
  private var hasEnded = false

  /// - Throws: ``AuditFileError`` when there is no memory.
  package init() throws(AuditFileError) {
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    guard unsafe keelson_gzip_inflate_init(stream) == Z_OK else {
      unsafe stream.deallocate()
      throw AuditFileError("There is no memory to decompress with.")
    }
    unsafe self.stream = unsafe stream
  }

  deinit {
    unsafe inflateEnd(stream)
    unsafe stream.deallocate()
  }

  /// The first bytes of every gzip file (RFC 1952, 2.3.1).
  package static func isGzip(_ bytes: some Collection<UInt8>) -> Bool {
    bytes.starts(with: [0x1F, 0x8B])
  }

  /// Hands on what the next piece of the file holds, a piece at a time, so that a small file which
  /// unfolds to a huge one needs no more memory than any other.
  ///
  /// - Throws: ``AuditFileError`` when it is damaged; what the body throws.
  package func decompress(_ bytes: [UInt8], _ take: ([UInt8]) throws -> Void) throws {
    guard !bytes.isEmpty else { return }
    guard !hasEnded else {
      throw AuditFileError("There is something after the end of the archive.")
    }
    var rest = bytes[...]
    var isFull = true
    while isFull || !rest.isEmpty, !hasEnded {
      var status = Z_OK
      let piece = unsafe [UInt8](unsafeUninitializedCapacity: 256 << 10) { room, count in
        unsafe rest.withUnsafeBufferPointer { source in
          unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
          unsafe stream.pointee.avail_in = UInt32(source.count)
          unsafe stream.pointee.next_out = room.baseAddress
          unsafe stream.pointee.avail_out = UInt32(room.count)
          status = unsafe inflate(stream, Z_NO_FLUSH)
          count = unsafe room.count - Int(stream.pointee.avail_out)
        }
        isFull = unsafe stream.pointee.avail_out == 0
      }
      rest = unsafe rest.suffix(Int(stream.pointee.avail_in))
      if !piece.isEmpty { try take(piece) }
      switch status {
      case Z_STREAM_END: hasEnded = true
      // Nothing left to do with what there is.
      case Z_BUF_ERROR: return
      case Z_OK: continue
      // Z_DATA_ERROR, Z_NEED_DICT, Z_MEM_ERROR.
      default: throw AuditFileError("The archive is damaged: its compression is broken.")
      }
    }
    guard rest.isEmpty else {
      throw AuditFileError("There is something after the end of the archive.")
    }
  }

  /// - Throws: ``AuditFileError`` when the file is not whole.
  package func finish() throws(AuditFileError) {
    guard hasEnded else { throw AuditFileError("The archive is cut off.") }
  }
}
