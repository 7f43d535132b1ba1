import Glibc
import Synchronization

/// Passes bytes between clients and a server on loopback, until it is told to swallow them: from
/// then on it accepts connections and keeps those there are, and nothing comes through any more,
/// as behind a cable that was cut. It can also cut one connection just when the server answers with
/// certain bytes.
///
/// `@unchecked Sendable`: what is mutable is guarded by the Mutex or atomic.
package final class Relay: @unchecked Sendable {
  package let port: UInt16
  private let listener: Int32
  private let target: UInt16
  private let isSwallowing = Atomic(false)
  private let sockets = Mutex<[Int32]>([])
  private let trigger = Mutex<(bytes: [UInt8]?, cuts: Int)>((nil, 0))

  package init(to target: UInt16) throws {
    self.target = target
    let silent = try SilentListener()
    port = silent.port
    listener = silent.fileDescriptor
    Self.run { [self] in acceptAll() }
  }

  package var address: String { "127.0.0.1:\(port)" }

  /// Nothing comes through from now on.
  package func swallow() {
    isSwallowing.store(true, ordering: .sequentiallyConsistent)
  }

  /// The next answer of the server's that has these bytes is withheld, and its connection cut.
  package func cut(atAnswerWith bytes: [UInt8]) {
    trigger.withLock { $0.bytes = bytes }
  }

  /// How often an answer was withheld.
  package var cuts: Int { trigger.withLock { $0.cuts } }

  package func close() {
    // Reads and accepts that are under way end by this.
    shutdown(listener, Int32(SHUT_RDWR))
    for socket in sockets.withLock({ $0 }) { shutdown(socket, Int32(SHUT_RDWR)) }
  }

  private static func run(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Work(body))
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue().body()
        return nil
      }, box.toOpaque())
    pthread_detach(thread)
  }

  private final class Work {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  private func acceptAll() {
    while true {
      let client = accept(listener, nil, nil)
      guard client >= 0 else { break }
      let server = Self.connect(to: target)
      sockets.withLock { $0 += [client, server] }
      Self.run { [self] in pump(from: client, to: server, isAnswer: false) }
      Self.run { [self] in pump(from: server, to: client, isAnswer: true) }
    }
    _ = Glibc.close(listener)
  }

  private func pump(from source: Int32, to sink: Int32, isAnswer: Bool) {
    var room = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(source, &room, room.count, 0)
      guard count > 0 else { break }
      if isSwallowing.load(ordering: .sequentiallyConsistent) { continue }
      if isAnswer, isToBeCut(room[..<count]) {
        for socket in [source, sink] { shutdown(socket, Int32(SHUT_RDWR)) }
        return
      }
      var sent = 0
      while sent < count {
        let more = room.withUnsafeBytes { bytes in
          Glibc.send(sink, bytes.baseAddress! + sent, count - sent, Int32(MSG_NOSIGNAL))
        }
        guard more > 0 else { break }
        sent += more
      }
    }
    if !isSwallowing.load(ordering: .sequentiallyConsistent) { shutdown(sink, Int32(SHUT_WR)) }
  }

  private func isToBeCut(_ answer: ArraySlice<UInt8>) -> Bool {
    trigger.withLock { trigger in
      guard let bytes = trigger.bytes, answer.contains(bytes) else { return false }
      trigger = (nil, trigger.cuts + 1)
      return true
    }
  }

  private static func connect(to port: UInt16) -> Int32 {
    let fileDescriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    _ = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(fileDescriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return fileDescriptor
  }
}
