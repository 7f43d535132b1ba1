import Glibc

/// A port that accepts connections (in the operating system) and never says a word.
package struct SilentListener {
  package let port: UInt16
  let fileDescriptor: Int32

  package struct Failure: Error {
    let number = errno
  }

  package init() throws {
    fileDescriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard fileDescriptor >= 0 else { throw Failure() }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let fileDescriptor = fileDescriptor
    let status = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(fileDescriptor, address, length) == 0 && listen(fileDescriptor, 8) == 0
          && getsockname(fileDescriptor, address, &length) == 0
      }
    }
    guard status else { throw Failure() }
    port = UInt16(bigEndian: address.sin_port)
  }

  package func close() {
    _ = Glibc.close(fileDescriptor)
  }
}
