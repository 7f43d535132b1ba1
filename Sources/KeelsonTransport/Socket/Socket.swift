import CLibUV
import Glibc
import KeelsonCore

/// A connected stream socket on a loop: TCP or Unix. Confined to its loop.
///
/// Reads and writes go straight to the file descriptor; libuv only tells when. That saves what
/// `uv_stream_t` spends on requests and buffers per operation.
@safe package final class Socket: ByteStream {
  package let loop: Loop
  package let peer: String
  private(set) var fileDescriptor: Int32
  private let handle: UnsafeMutablePointer<uv_poll_t>
  /// unowned by contract: the observer closes the socket before it goes.
  private unowned(unsafe) var observer: (any ByteStreamObserver)?
  private var connectCompletion: ((SocketError?) -> Void)?

  /// Takes over a non-blocking file descriptor and closes it in the end, also when this throws.
  init(adopting fileDescriptor: Int32, peer: String, on loop: Loop) throws(SocketError) {
    self.loop = loop
    self.peer = peer
    self.fileDescriptor = fileDescriptor
    unsafe handle = .allocate(capacity: 1)
    let status = unsafe uv_poll_init(loop.uvLoop, handle, fileDescriptor)
    guard status == 0 else {
      unsafe handle.deallocate()
      _ = Glibc.close(fileDescriptor)
      throw SocketError(.system, "Watching a socket failed: \(uvMessage(status)).", cause: -status)
    }
    unsafe handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit {
    assert(fileDescriptor < 0, "a socket is closed on its loop before it goes")
  }

  package var isAwaitingRoom = false {
    didSet {
      if isAwaitingRoom != oldValue, unsafe observer != nil { updateInterest() }
    }
  }

  package var isHoldingBytes: Bool { false }

  package func start(observer: any ByteStreamObserver) {
    unsafe self.observer = observer
    updateInterest()
  }

  private func updateInterest() {
    guard fileDescriptor >= 0 else { return }
    var events: Int32 = connectCompletion == nil ? Int32(UV_READABLE.rawValue) : 0
    if isAwaitingRoom || connectCompletion != nil { events |= Int32(UV_WRITABLE.rawValue) }
    _ = unsafe uv_poll_start(handle, events) { handle, status, events in
      guard let data = unsafe handle?.pointee.data else { return }
      unsafe Unmanaged<Socket>.fromOpaque(data).takeUnretainedValue()
        .isReady(status: status, events: events)
    }
  }

  private func isReady(status: Int32, events: Int32) {
    // What is called here may let go of the last reference to this socket.
    withExtendedLifetime(self) {
      if let completion = connectCompletion {
        connectCompletion = nil
        _ = unsafe uv_poll_stop(handle)
        completion(connectError())
        return
      }
      if events & Int32(UV_WRITABLE.rawValue) != 0 { unsafe observer?.byteStreamIsWritable() }
      // After an error (status < 0) reading says what it was.
      if status < 0 || events & Int32(UV_READABLE.rawValue) != 0 {
        unsafe observer?.byteStreamIsReadable()
      }
      // libuv stops watching when it reports an error, but bytes that came ahead of the error may
      // have been all that was read just now: watch on, so that the error is read as well.
      if status < 0 { updateInterest() }
    }
  }

  package func read(into room: UnsafeMutableRawBufferPointer) -> ByteStreamResult {
    guard fileDescriptor >= 0 else { return .ended }
    while true {
      let count = unsafe recv(fileDescriptor, room.baseAddress, room.count, 0)
      if count > 0 { return .bytes(count) }
      if count == 0 { return .ended }
      switch errno {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case let number: return .failed(.system("Reading from \(peer)", number))
      }
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer) -> ByteStreamResult {
    guard fileDescriptor >= 0 else { return .failed(.system("Writing to \(peer)", EPIPE)) }
    while true {
      let count = unsafe send(
        fileDescriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
      if count >= 0 { return .bytes(count) }
      switch errno {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case let number: return .failed(.system("Writing to \(peer)", number))
      }
    }
  }

  package func abort() {
    guard fileDescriptor >= 0 else { return }
    // Has close() send a reset: socket(7), SO_LINGER.
    var linger = linger(l_onoff: 1, l_linger: 0)
    _ = unsafe setsockopt(
      fileDescriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  package func close() {
    guard fileDescriptor >= 0 else { return }
    unsafe observer = nil
    connectCompletion = nil
    unsafe handle.pointee.data = nil
    unsafe uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) {
      unsafe $0?.deallocate()
    }
    _ = Glibc.close(fileDescriptor)
    fileDescriptor = -1
  }

  // MARK: Connecting

  /// Begins to connect, without waiting. On the loop's thread only.
  ///
  /// - Parameter userTimeout: how long bytes that were sent may stay unacknowledged before the
  ///   operating system gives the connection up (TCP_USER_TIMEOUT, RFC 5482); nil: its own default,
  ///   a quarter of an hour. Unix sockets know no such thing.
  /// - Parameter completion: called once, on the loop, later than this returns: nil when the
  ///   socket is connected, otherwise why not; never called after ``close()``. The caller keeps
  ///   the socket, and closes it in either case.
  package static func connect(
    to address: SocketAddress, on loop: Loop, userTimeout: Duration? = nil,
    completion: @escaping (SocketError?) -> Void
  ) throws(SocketError) -> Socket {
    let fileDescriptor = try open(address)
    if let userTimeout, address.family != AF_UNIX {
      setOption(
        fileDescriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT,
        Int32(clamping: userTimeout.wholeMilliseconds))
    }
    let socket = try Socket(adopting: fileDescriptor, peer: address.description, on: loop)
    let status = unsafe address.withSockaddr {
      unsafe Glibc.connect(fileDescriptor, $0, $1) == 0 ? 0 : errno
    }
    guard status == 0 || status == EINPROGRESS || status == EINTR else {
      socket.close()
      throw .system("Connecting to \(address)", status)
    }
    socket.connectCompletion = completion
    socket.updateInterest()
    return socket
  }

  private func connectError() -> SocketError? {
    var number: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    let status = unsafe getsockopt(fileDescriptor, SOL_SOCKET, SO_ERROR, &number, &length)
    if status != 0 { number = errno }
    return number == 0 ? nil : .system("Connecting to \(peer)", number)
  }

  /// A new non-blocking socket of the address's family.
  static func open(_ address: SocketAddress) throws(SocketError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let fileDescriptor = socket(address.family, type, 0)
    guard fileDescriptor >= 0 else { throw .system("Opening a socket", errno) }
    if address.family != AF_UNIX { setOption(fileDescriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
    return fileDescriptor
  }

  static func setOption(_ fileDescriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) {
    var value = value
    // A socket works without each option we set, so a refusal is no error.
    _ = unsafe setsockopt(
      fileDescriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
  }
}
