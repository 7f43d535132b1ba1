import CLibUV
import Glibc
import KeelsonCore

/// Listens on one address and hands each new connection on. Confined to its loop, which accepts;
/// the connections may live on others.
@safe final class Listener {
  /// Connections the operating system keeps ready for us to accept.
  private static let backlog: Int32 = 1024
  /// How many are accepted before other events get their turn.
  private static let acceptsPerTurn = 64
  /// How long to wait when the process has no file descriptors left.
  private static let pauseMilliseconds: UInt64 = 100

  /// Where it listens; a port of 0 has become the one the operating system chose.
  let address: BoundAddress
  private let loop: Loop
  private let logger: Logger
  private var fileDescriptor: Int32
  private let handle: UnsafeMutablePointer<uv_poll_t>
  private var boundFile: FileIdentity?
  private var accepted: ((_ fileDescriptor: Int32, _ peer: String) -> Void)?

  /// Binds and listens; connections wait until ``start(_:)``. On the loop's thread only.
  ///
  /// - Parameter unixPermissions: the mode of a Unix socket's file, `0o600` to `0o660`.
  /// - Throws: ``SocketError``, `addressInUse` if somebody listens there already.
  init(
    _ address: ListenAddress, unixPermissions: UInt32, on loop: Loop, logger: Logger
  ) throws(SocketError) {
    self.loop = loop
    self.logger = logger
    unsafe handle = .allocate(capacity: 1)
    do {
      fileDescriptor = try Self.bind(address, unixPermissions: unixPermissions)
    } catch {
      unsafe handle.deallocate()
      throw error
    }
    if case .unix(let path) = address.address.kind { boundFile = FileIdentity(path: path) }
    self.address = Self.boundAddress(fileDescriptor) ?? address
    let status = unsafe uv_poll_init(loop.uvLoop, handle, fileDescriptor)
    guard status == 0 else {
      unsafe handle.deallocate()
      _ = Glibc.close(fileDescriptor)
      throw .system("Listening on \(address)", -status)
    }
    unsafe handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit {
    assert(fileDescriptor < 0, "a listener is closed on its loop before it goes")
  }

  /// Begins to accept. `accepted` takes over each file descriptor, which is non-blocking.
  func start(_ accepted: @escaping (_ fileDescriptor: Int32, _ peer: String) -> Void) {
    self.accepted = accepted
    _ = unsafe uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, _, _ in
      guard let data = unsafe handle?.pointee.data else { return }
      unsafe Unmanaged<Listener>.fromOpaque(data).takeUnretainedValue().acceptAll()
    }
  }

  private func acceptAll() {
    for _ in 0..<Self.acceptsPerTurn {
      guard fileDescriptor >= 0 else { return }
      var storage = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let connection = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          unsafe accept4(
            fileDescriptor, $0, &length, Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue))
        }
      }
      guard connection >= 0 else {
        switch errno {
        case EAGAIN: return
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
          pause(errno)
          return
        // The connection was gone before we looked, or a signal came: the next one.
        default: continue
        }
      }
      accepted?(connection, peer(storage, length))
    }
  }

  private func peer(_ storage: sockaddr_storage, _ length: socklen_t) -> String {
    // A Unix client has no address of its own as a rule: the socket's path tells more.
    guard let address = SocketAddress(storage: storage, length: length),
      address.kind != .unix(path: "")
    else { return self.address.address.description }
    return address.description
  }

  /// Without file descriptors, accepting again at once would only spin.
  private func pause(_ number: Int32) {
    logger.log(
      .warning,
      "No new connections for a moment: \(uvMessage(-number)). Raise the limit of open files.",
      ["address": address.description])
    _ = unsafe uv_poll_stop(handle)
    _ = loop.schedule(afterMilliseconds: Self.pauseMilliseconds) { [weak self] in
      guard let self, fileDescriptor >= 0, let accepted else { return }
      start(accepted)
    }
  }

  /// Stops listening. A Unix socket's file goes away, if it is still ours.
  func close() {
    guard fileDescriptor >= 0 else { return }
    accepted = nil
    unsafe handle.pointee.data = nil
    unsafe uv_close(UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)) {
      unsafe $0?.deallocate()
    }
    _ = Glibc.close(fileDescriptor)
    fileDescriptor = -1
    if case .unix(let path) = address.address.kind, let boundFile,
      FileIdentity(path: path) == boundFile
    {
      _ = unsafe unlink(path)
    }
  }

  // MARK: Binding

  private static func bind(_ address: ListenAddress, unixPermissions: UInt32) throws(SocketError)
    -> Int32
  {
    let fileDescriptor = try Socket.open(address.address)
    do throws(SocketError) {
      // On Linux this allows an address whose old connections linger (TIME_WAIT), not one that
      // is listened on. SO_REUSEPORT would let a second server share the port unnoticed.
      Socket.setOption(fileDescriptor, SOL_SOCKET, SO_REUSEADDR, 1)
      if address.address.family == AF_INET6 {
        Socket.setOption(fileDescriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1)
      }
      var number = bindOnce(fileDescriptor, address.address)
      if number == EADDRINUSE, case .unix(let path) = address.address.kind {
        try removeStaleSocket(path, address)
        number = bindOnce(fileDescriptor, address.address)
      }
      guard number == 0 else { throw bindError(address, number) }
      if case .unix(let path) = address.address.kind, unsafe chmod(path, unixPermissions) != 0 {
        throw SocketError.system("Setting the permissions of \(path)", errno)
      }
      // Nobody can connect before this, so the permissions above are in time.
      guard listen(fileDescriptor, backlog) == 0 else { throw bindError(address, errno) }
      return fileDescriptor
    } catch {
      _ = Glibc.close(fileDescriptor)
      throw error
    }
  }

  private static func bindOnce(_ fileDescriptor: Int32, _ address: SocketAddress) -> Int32 {
    unsafe address.withSockaddr {
      unsafe Glibc.bind(fileDescriptor, $0, $1) == 0 ? 0 : errno
    }
  }

  private static func bindError(_ address: ListenAddress, _ number: Int32) -> SocketError {
    switch number {
    case EADDRINUSE:
      SocketError(
        .addressInUse,
        "Cannot listen on \(address): another process listens there. Stop it, or choose another "
          + "address.", cause: number)
    case EACCES:
      SocketError(
        .permissionDenied,
        "Cannot listen on \(address): this user may not. Ports below 1024 need root; a Unix "
          + "socket needs a folder that may be written to.", cause: number)
    case EADDRNOTAVAIL:
      SocketError(
        .invalidAddress, "Cannot listen on \(address): this machine has no such address.",
        cause: number)
    case ENOENT:
      SocketError(
        .invalidAddress, "Cannot listen on \(address): the folder does not exist.", cause: number)
    default: .system("Listening on \(address)", number)
    }
  }

  /// Takes a Unix socket's file away that a dead process left behind.
  private static func removeStaleSocket(_ path: String, _ address: ListenAddress)
    throws(SocketError)
  {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw SocketError(
        .addressInUse,
        "Cannot listen on \(address): a file that is no socket stands there. Move it away, or "
          + "choose another path.", cause: EADDRINUSE)
    }
    let probe = try Socket.open(address.address)
    defer { _ = Glibc.close(probe) }
    let number = unsafe address.address.withSockaddr {
      unsafe Glibc.connect(probe, $0, $1) == 0 ? 0 : errno
    }
    // Anything but a refusal means that somebody may be there.
    guard number == ECONNREFUSED else { throw bindError(address, EADDRINUSE) }
    _ = unsafe unlink(path)
  }

  private static func boundAddress(_ fileDescriptor: Int32) -> BoundAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let status = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(fileDescriptor, $0, &length)
      }
    }
    guard status == 0 else { return nil }
    return SocketAddress(storage: storage, length: length).map(ListenAddress.init)
  }
}

/// Which file stands at a path: tells our socket from one that replaced it.
private struct FileIdentity: Equatable {
  let device: UInt
  let number: UInt

  init?(path: String) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return nil }
    device = UInt(status.st_dev)
    number = UInt(status.st_ino)
  }
}
