import COpenSSL
package import KeelsonCore

/// A byte stream that is encrypted, over one that is not. Confined to its loop.
///
/// Life: ``init(_:over:on:)``, ``handshake(_:)``, then a ``ByteStream`` like any other, and
/// ``close()`` in any case.
///
/// OpenSSL neither reads nor writes the socket: it is fed from the loop's scratch memory, and what
/// it makes of one write is gathered there and leaves in one system call. So a record costs no
/// system call of its own, and an idle connection holds no buffer. What a socket does not take
/// is held here, the records of one write at most, and until it is gone nothing more is taken.
///
/// `@exclusivity(unchecked)`: see ``HTTP2Connection``; OpenSSL's callbacks only copy and record.
@safe package final class TLSStream: ByteStream, ByteStreamObserver, Loop.Flushable {
  enum Side {
    case server(TLSServerContext)
    /// With what the server's certificate has to be for: see ``TLSClientContext/expected(at:)``.
    case client(TLSClientContext, expected: [String])
  }

  enum State {
    /// Can transition to: handshaking, closed.
    case new
    /// Can transition to: open, closed.
    case handshaking
    /// Can transition to: closed.
    case open
    /// Can transition to: nothing.
    case closed
  }

  /// Plaintext is never longer than its records, but one record, at most this long, may lie in
  /// OpenSSL from before. Source: RFC 8446 section 5.2.
  private static let maximumRecordBytes = 5 + 16_384 + 256
  /// What is read where there is hardly any room; what finds none is put aside.
  private static let minimumReadBytes = 1024
  /// How many messages that ask for new keys or a new handshake are free…
  private static let controlBurst = 64
  /// …and how many each second more. A client may want new keys after some gigabytes.
  private static let controlsPerSecond = 1
  /// How much may wait to be sent that the peer made us say (alerts, new keys) by what it sends.
  private static let maximumHeldControlBytes = 64 * 1024

  let side: Side
  let loop: Loop
  let transport: any ByteStream
  @exclusivity(unchecked) var ssl: OpaquePointer
  @safe @exclusivity(unchecked) var state = State.new
  /// unowned by contract: the observer closes the stream before it goes.
  private unowned(unsafe) var observer: (any ByteStreamObserver)?

  // MARK: What OpenSSL reads

  /// Ciphertext that OpenSSL has not taken, in the loop's scratch memory or in `leftover`.
  @exclusivity(unchecked) var input = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  /// Ciphertext that is kept until the next read.
  private var leftover: [UInt8] = []
  @safe @exclusivity(unchecked) var hasTransportEnded = false

  // MARK: What OpenSSL writes

  /// Ciphertext that the socket has not taken.
  @safe @exclusivity(unchecked) private var held = SendBuffer()
  private var heldControlBytes = 0

  // MARK: How it ends

  private var isReadingScheduled = false
  /// The peer has said that it sends no more.
  private var hasPeerEnded = false
  /// Why the stream is of no more use.
  var failure: TLSError?
  /// Why our own callbacks have refused the handshake.
  var refusal: String?
  /// Why the peer's certificate was not accepted.
  var problem: VerificationProblem?
  /// Steps of handshakes, and alerts, after the first handshake.
  var control: TokenBucket
  var isControlFlooded = false

  var handshakeCompletion: ((Result<Void, TLSError>) -> Void)?
  var handshakeTimer: Loop.Timer?
  var handshakeBytes = 0
  /// Who the client is, by its certificate. Server only, once the handshake is done.
  package internal(set) var identity: PeerIdentity?

  package var peer: String { transport.peer }
  /// Whether the session is one resumed.
  package var isResumed: Bool { unsafe SSL_session_reused(ssl) == 1 }

  /// Takes over a stream that is connected.
  init(_ side: Side, over transport: any ByteStream, on loop: Loop) throws(TLSError) {
    self.side = side
    self.transport = transport
    self.loop = loop
    control = TokenBucket(
      burst: Self.controlBurst, perSecond: Self.controlsPerSecond, now: loop.now)
    let context =
      switch side {
      case .server(let server): server.tls
      case .client(let client, _): client.tls
      }
    guard let ssl = unsafe SSL_new(context.context) else {
      throw OpenSSLFailure.error("Securing a connection")
    }
    unsafe self.ssl = unsafe ssl
    unsafe SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
    guard let bio = unsafe TLSStream.makeBIO(for: self) else {
      // The deinit runs from here on, and frees what there is.
      state = .closed
      throw OpenSSLFailure.error("Securing a connection")
    }
    unsafe SSL_set_bio(ssl, bio, bio)
    switch side {
    case .server: unsafe SSL_set_accept_state(ssl)
    case .client(let client, let expected):
      unsafe SSL_set_connect_state(ssl)
      do throws(TLSError) {
        unsafe try client.prepare(ssl, expected: expected, peer: transport.peer)
      } catch {
        state = .closed
        throw error
      }
    }
  }

  deinit {
    assert(state == .closed, "a TLS stream is closed on its loop before it goes")
    unsafe SSL_free(ssl)
  }

  // MARK: ByteStream

  package func start(observer: any ByteStreamObserver) {
    unsafe self.observer = observer
    // What came behind the handshake is here already: no socket will tell of it.
    if !leftover.isEmpty || hasTransportEnded || failure != nil { scheduleReading() }
  }

  package var isAwaitingRoom = false {
    didSet { updateInterest() }
  }

  package var isHoldingBytes: Bool { !held.isEmpty }

  private func updateInterest() {
    let wants = isAwaitingRoom || !held.isEmpty
    if transport.isAwaitingRoom != wants { transport.isAwaitingRoom = wants }
  }

  package func read(into room: UnsafeMutableRawBufferPointer) -> ByteStreamResult {
    guard state == .open else { return .ended }
    var produced = 0
    takeLeftover()
    while failure == nil, !hasPeerEnded {
      unsafe decrypt(into: room, &produced)
      guard failure == nil, !hasPeerEnded, produced < room.count, unsafe input.isEmpty
      else { break }
      // No more than what has room once it is decrypted: nothing has to be put aside.
      let limit = unsafe min(loop.tlsInput.count, room.count - produced - Self.maximumRecordBytes)
      guard limit > 0 || produced == 0 else { break }
      let count = max(limit, Self.minimumReadBytes)
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: loop.tlsInput[..<count])
      let result = unsafe transport.read(into: part)
      if case .bytes(let read) = result {
        unsafe input = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(part)[..<read])
        if read < count {
          unsafe decrypt(into: room, &produced)
          break
        }
        continue
      }
      if case .ended = result { hasTransportEnded = true }
      if case .failed(let error) = result { failure = TLSError(.handshakeFailed, error.message) }
      if hasTransportEnded { unsafe decrypt(into: room, &produced) }
      break
    }
    keepLeftover()
    sendControl()
    if produced > 0 {
      // What else there is to tell comes with the next read, and no socket will ask for it.
      let hasMore =
        unsafe !leftover.isEmpty || produced == room.count && SSL_pending(ssl) > 0
      if failure != nil || hasPeerEnded || hasMore { scheduleReading() }
      return .bytes(produced)
    }
    if let failure { return .failed(failure.asSocketError) }
    return hasPeerEnded ? .ended : .wouldBlock
  }

  /// Decrypts what is there, as far as there is room.
  private func decrypt(into room: UnsafeMutableRawBufferPointer, _ produced: inout Int) {
    while produced < room.count {
      ERR_clear_error()
      var count = 0
      let status = unsafe SSL_read_ex(
        ssl, room.baseAddress.map { unsafe $0 + produced }, room.count - produced, &count)
      if status == 1 {
        produced += count
        continue
      }
      switch unsafe SSL_get_error(ssl, status) {
      case SSL_ERROR_WANT_READ: break
      case SSL_ERROR_ZERO_RETURN: hasPeerEnded = true
      default: failure = readFailure()
      }
      if isControlFlooded {
        failure = TLSError(
          .misbehaviour, "The peer was cut off: it asked for new keys or handshakes too often.")
      }
      return
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer) -> ByteStreamResult {
    if let failure { return .failed(failure.asSocketError) }
    guard state == .open, held.isEmpty else { return .wouldBlock }
    guard unsafe !bytes.isEmpty else { return .bytes(0) }
    ERR_clear_error()
    var count = 0
    guard unsafe SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count) == 1 else {
      // There is room for all that OpenSSL writes, so it never has to wait.
      let failure = OpenSSLFailure.take()
      loop.tlsOutput.removeAll()
      let error = TLSError(
        .system, "Encrypting for \(peer) failed: \(failure.text).", cause: failure.text)
      self.failure = error
      return .failed(error.asSocketError)
    }
    if let error = sendOutput() { return .failed(error) }
    return .bytes(count)
  }

  package func abort() {
    guard state != .closed else { return }
    transport.abort()
    close()
  }

  package func close() {
    guard state != .closed else { return }
    if state == .open, failure == nil {
      ERR_clear_error()
      // Says close_notify, as far as there is room: the peer's is not waited for.
      _ = unsafe SSL_shutdown(ssl)
      _ = sendOutput()
      ERR_clear_error()
    }
    state = .closed
    unsafe observer = nil
    handshakeCompletion = nil
    if let timer = handshakeTimer { loop.cancel(timer) }
    handshakeTimer = nil
    held = SendBuffer()
    transport.close()
  }

  // MARK: From the socket

  package func byteStreamIsReadable() {
    // What is called here may let go of the last reference to this stream.
    withExtendedLifetime(self) {
      switch state {
      case .handshaking: continueHandshake()
      case .open: unsafe observer?.byteStreamIsReadable()
      case .new, .closed: break
      }
    }
  }

  package func byteStreamIsWritable() {
    withExtendedLifetime(self) {
      if !held.isEmpty {
        switch unsafe transport.write(held.bytes) {
        case .bytes(let count): held.drop(count)
        case .wouldBlock: return
        case .ended, .failed: held = SendBuffer()  // Reading says what it was.
        }
        // A new one, so that an idle connection holds no memory for it.
        if held.isEmpty {
          held = SendBuffer()
          heldControlBytes = 0
        }
      }
      updateInterest()
      if state == .open, isAwaitingRoom { unsafe observer?.byteStreamIsWritable() }
    }
  }

  /// Has the observer read at the end of this turn.
  private func scheduleReading() {
    guard !isReadingScheduled else { return }
    isReadingScheduled = true
    loop.flushAtEndOfTurn(self)
  }

  /// At the end of a turn: there is something to read that no socket tells of.
  package func flush() {
    isReadingScheduled = false
    byteStreamIsReadable()
  }

  // MARK: Ciphertext

  /// Writes what OpenSSL has made; what the socket does not take is held.
  func sendOutput() -> SocketError? {
    let output = loop.tlsOutput
    guard !output.isEmpty else { return nil }
    defer { output.removeAll() }
    if held.isEmpty {
      switch unsafe transport.write(output.bytes) {
      case .bytes(let count): output.drop(count)
      case .wouldBlock: break
      case .ended: return SocketError(.connectionFailed, "\(peer) has closed the connection.")
      case .failed(let error): return error
      }
    }
    if !output.isEmpty {
      unsafe held.append(output.bytes)
      updateInterest()
    }
    return nil
  }

  /// Sends what reading has made OpenSSL say. A peer that makes it say a lot and does not read
  /// it is cut off.
  private func sendControl() {
    let count = loop.tlsOutput.count
    guard count > 0, sendOutput() == nil, !held.isEmpty else { return }
    heldControlBytes += count
    if heldControlBytes > Self.maximumHeldControlBytes {
      failure = TLSError(
        .misbehaviour, "The peer was cut off: it does not read our answers in TLS.")
    }
  }

  /// Ciphertext that was read behind the handshake, or that found no room, is next.
  private func takeLeftover() {
    guard !leftover.isEmpty else { return }
    let part = unsafe UnsafeMutableRawBufferPointer(rebasing: loop.tlsInput[..<leftover.count])
    unsafe part.copyBytes(from: leftover)
    unsafe input = UnsafeRawBufferPointer(part)
    leftover = []
  }

  /// The scratch memory is everybody's: what OpenSSL has not taken is put aside.
  func keepLeftover() {
    guard unsafe !input.isEmpty else { return }
    leftover = unsafe Array(input)
    unsafe input = UnsafeRawBufferPointer(start: nil, count: 0)
  }
}
