import COpenSSL

// What OpenSSL calls: copying and recording only.

/// Why a certificate was refused.
struct VerificationProblem {
  /// `X509_V_ERR_…`
  let code: Int32
  /// How far from the peer's own certificate; 0: that one.
  let depth: Int
  let certificate: Certificate?
}

extension TLSStream {
  /// The stream that OpenSSL works for.
  static func of(_ ssl: OpaquePointer?) -> TLSStream? {
    guard let ssl = unsafe ssl, let data = unsafe SSL_get_ex_data(ssl, 0) else { return nil }
    return unsafe Unmanaged<TLSStream>.fromOpaque(data).takeUnretainedValue()
  }

  private static func of(bio: OpaquePointer?) -> TLSStream? {
    guard let bio = unsafe bio, let data = unsafe BIO_get_data(bio) else { return nil }
    return unsafe Unmanaged<TLSStream>.fromOpaque(data).takeUnretainedValue()
  }

  /// What stands between OpenSSL and a stream's memory. Does not own the stream, which owns it.
  static func makeBIO(for stream: TLSStream) -> OpaquePointer? {
    guard let bio = unsafe BIO_new(bioMethod.pointer) else { return nil }
    unsafe BIO_set_data(bio, Unmanaged.passUnretained(stream).toOpaque())
    unsafe BIO_set_init(bio, 1)
    return unsafe bio
  }

  /// Made once in the life of the process.
  private static let bioMethod = unsafe BIOMethod(
    read: { bio, room, count in
      unsafe BIO_clear_flags(
        bio, BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_IO_SPECIAL | BIO_FLAGS_SHOULD_RETRY)
      guard let stream = unsafe TLSStream.of(bio: bio), let room = unsafe room, count > 0 else {
        return -1
      }
      let taken = unsafe min(Int(count), stream.input.count)
      guard taken > 0 else {
        if stream.hasTransportEnded { return 0 }
        unsafe BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
        return -1
      }
      unsafe UnsafeMutableRawPointer(room).copyMemory(
        from: stream.input.baseAddress!, byteCount: taken)
      unsafe stream.input = UnsafeRawBufferPointer(rebasing: stream.input[taken...])
      return Int32(taken)
    },
    write: { bio, bytes, count in
      guard let stream = unsafe TLSStream.of(bio: bio), count > 0 else { return -1 }
      unsafe stream.loop.tlsOutput.append(UnsafeRawBufferPointer(start: bytes, count: Int(count)))
      return count
    },
    control: { bio, command, _, _ in
      switch command {
      case BIO_CTRL_FLUSH: return 1
      case BIO_CTRL_EOF: return unsafe TLSStream.of(bio: bio)?.hasTransportEnded == true ? 1 : 0
      default: return 0
      }
    })

  /// Records why a certificate is not accepted, while it can still be asked.
  static let rememberProblem: @convention(c) (Int32, OpaquePointer?) -> Int32 = { isFine, store in
    guard isFine != 1, let store = unsafe store,
      let data = unsafe X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
      let stream = unsafe TLSStream.of(OpaquePointer(data))
    else { return isFine }
    // The first problem is the one to tell; what follows follows from it.
    if stream.problem == nil {
      let certificate = unsafe X509_STORE_CTX_get_current_cert(store)
      stream.problem = VerificationProblem(
        code: unsafe X509_STORE_CTX_get_error(store),
        depth: Int(unsafe X509_STORE_CTX_get_error_depth(store)),
        certificate: unsafe certificate.map { unsafe Certificate(sharing: $0) })
    }
    return 0
  }

  /// Counts what a peer may not do often once a connection stands: each costs us more than it.
  static let countControl: @convention(c) (OpaquePointer?, Int32, Int32) -> Void = {
    ssl, what, _ in
    // A step of a handshake, or an alert that we send.
    let isCounted =
      what & (SSL_CB_HANDSHAKE_START | SSL_CB_LOOP) != 0
      || what & SSL_CB_WRITE_ALERT == SSL_CB_WRITE_ALERT
    guard isCounted, let stream = unsafe TLSStream.of(ssl), stream.state == .open
    else { return }
    if !stream.control.take(now: stream.loop.now) { stream.isControlFlooded = true }
  }
}

/// A kind of BIO: three C functions. Never freed.
///
/// `@unchecked Sendable`: immutable once made.
@safe private struct BIOMethod: @unchecked Sendable {
  let pointer: OpaquePointer?

  init(
    read: @escaping @convention(c) (OpaquePointer?, UnsafeMutablePointer<CChar>?, Int32) -> Int32,
    write: @escaping @convention(c) (OpaquePointer?, UnsafePointer<CChar>?, Int32) -> Int32,
    control:
      @escaping @convention(c) (
        OpaquePointer?, Int32, Int, UnsafeMutableRawPointer?
      ) -> Int
  ) {
    unsafe pointer = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "keelson")
    unsafe BIO_meth_set_read(pointer, read)
    unsafe BIO_meth_set_write(pointer, write)
    unsafe BIO_meth_set_ctrl(pointer, control)
  }
}
