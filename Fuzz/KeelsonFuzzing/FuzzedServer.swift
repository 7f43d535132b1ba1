import Glibc
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization

/// A server on a Unix socket in a folder of its own, for as long as the process lives.
final class FuzzedServer: Sendable {
  static let shared = FuzzedServer()

  /// The client's preface (RFC 9113 section 3.4) and an empty SETTINGS frame.
  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]

  /// How long the server may take to end a connection whose peer has gone.
  private static let patience: Duration = .seconds(20)

  private struct State {
    var server: Server?
    var path = ""
  }
  private let state = Mutex(State())

  func start() async throws {
    // sockaddr_un has room for 107 bytes: short names.
    var template = Array("/tmp/keelson-fuzz-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else {
      throw FuzzFailure(description: "there is no folder to put a socket in")
    }
    let folder = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    let path = "\(folder)/s"
    var configuration = ServerConfiguration(addresses: [
      try ListenAddress(parsing: "unix:\(path)")
    ])
    configuration.loopCount = 1
    configuration.maximumRequestMessageBytes = 4 << 10
    let server = Server(
      configuration: configuration, routes: EchoService().routes, logger: .silent)
    _ = try await server.start()
    state.withLock {
      $0.path = path
      $0.server = server
    }
  }

  /// Sends the pieces on a connection, hangs up and waits until the server has too.
  func serve(_ pieces: [[UInt8]]) throws {
    let fileDescriptor = try connect()
    defer { close(fileDescriptor) }
    for piece in pieces { send(piece, on: fileDescriptor) }
    shutdown(fileDescriptor, Int32(SHUT_WR))
    try waitForEnd(of: fileDescriptor)
  }

  private func connect() throws -> Int32 {
    let path = state.withLock { $0.path }
    let fileDescriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let status = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe Glibc.connect(
          fileDescriptor, address, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard status == 0 else {
      close(fileDescriptor)
      throw FuzzFailure(description: "the server takes no connection: errno \(errno)")
    }
    return fileDescriptor
  }

  /// Sends all of it, unless the server hangs up first, which it may.
  private func send(_ piece: [UInt8], on fileDescriptor: Int32) {
    var sent = 0
    while sent < piece.count {
      let count = unsafe piece.withUnsafeBytes { bytes in
        unsafe Glibc.send(
          fileDescriptor, bytes.baseAddress.map { unsafe $0 + sent }, piece.count - sent,
          Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return }
      sent += count
    }
  }

  private func waitForEnd(of fileDescriptor: Int32) throws {
    let deadline = ContinuousClock.now + Self.patience
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let rest = deadline - ContinuousClock.now
      var entry = pollfd(fd: fileDescriptor, events: Int16(POLLIN), revents: 0)
      let ready = unsafe poll(&entry, 1, Int32(max(0, rest / .milliseconds(1))))
      guard ready != 0 else {
        throw FuzzFailure(description: "the server keeps a connection whose peer has gone")
      }
      let count = unsafe read(fileDescriptor, &buffer, buffer.count)
      if count == 0 || count < 0 && errno != EINTR { return }
    }
  }
}
