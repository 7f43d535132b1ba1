import Glibc

/// A port of the loopback interface where nobody listens, and where nobody else can meanwhile:
/// connecting to it is refused.
package struct ReservedPort {
  package let port: UInt16
  private let fileDescriptor: Int32

  package struct Failure: Error {
    let number = errno
  }

  /// - Parameter wanted: one that was in use a moment ago; 0: any.
  package init(_ wanted: UInt16 = 0) throws {
    fileDescriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard fileDescriptor >= 0 else { throw Failure() }
    var one: Int32 = 1
    setsockopt(
      fileDescriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = wanted.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let fileDescriptor = fileDescriptor
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(fileDescriptor, address, length) == 0
          && getsockname(fileDescriptor, address, &length) == 0
      }
    }
    guard isBound else { throw Failure() }
    port = UInt16(bigEndian: address.sin_port)
  }

  package var address: String { "127.0.0.1:\(port)" }

  package func close() {
    _ = Glibc.close(fileDescriptor)
  }
}
