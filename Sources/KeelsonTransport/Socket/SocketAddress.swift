import CLibUV
import Glibc

/// An address of the operating system's: IPv4, IPv6 or a Unix socket's path.
package struct SocketAddress: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    case ipv4(host: String, port: UInt16)
    case ipv6(host: String, port: UInt16)
    case unix(path: String)
  }

  package let kind: Kind

  /// The longest path a Unix socket may have on Linux: 108 bytes with the terminating zero.
  static let maximumPathBytes = 107

  /// An IPv4 or IPv6 address written in numbers; nil if the text is neither.
  package init?(numericHost host: String, port: UInt16) {
    // C reads up to a NUL; and the zone becomes part of an `:authority`.
    guard host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
    var four = in_addr()
    var six = in6_addr()
    // A zone after '%' is the operating system's business; inet_pton does not know it.
    let bare = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)[0]
    if unsafe inet_pton(AF_INET, host, &four) == 1 {
      kind = .ipv4(host: host, port: port)
    } else if unsafe inet_pton(AF_INET6, String(bare), &six) == 1 {
      kind = .ipv6(host: host, port: port)
    } else {
      return nil
    }
  }

  /// A Unix socket; nil if the path is empty or too long (107 bytes).
  package init?(unixPath path: String) {
    guard !path.isEmpty, path.utf8.count <= Self.maximumPathBytes, !path.utf8.contains(0) else {
      return nil
    }
    kind = .unix(path: path)
  }

  /// Reads what the operating system says; nil for families we do not know.
  init?(storage: sockaddr_storage, length: socklen_t) {
    var storage = storage
    switch Int32(storage.ss_family) {
    case AF_INET:
      let (host, port) = unsafe withUnsafePointer(to: &storage) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { address in
          unsafe (
            Self.text(46) { unsafe uv_ip4_name(address, $0, 46) },
            UInt16(bigEndian: address.pointee.sin_port)
          )
        }
      }
      kind = .ipv4(host: host, port: port)
    case AF_INET6:
      let (host, port) = unsafe withUnsafePointer(to: &storage) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { address in
          unsafe (
            Self.text(46) { unsafe uv_ip6_name(address, $0, 46) },
            UInt16(bigEndian: address.pointee.sin6_port)
          )
        }
      }
      kind = .ipv6(host: host, port: port)
    case AF_UNIX:
      let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
      let path = unsafe withUnsafeBytes(of: &storage) { bytes in
        let pathBytes = unsafe bytes[min(offset, Int(length))..<Int(length)]
        return unsafe String(decoding: pathBytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      kind = .unix(path: path)
    default: return nil
    }
  }

  private static func text(_ bytes: Int, _ fill: (UnsafeMutablePointer<CChar>) -> Int32) -> String {
    var buffer = [CChar](repeating: 0, count: bytes)
    return unsafe buffer.withUnsafeMutableBufferPointer { room in
      guard let base = room.baseAddress, unsafe fill(base) == 0 else { return "" }
      return unsafe String(cString: base)
    }
  }

  var family: Int32 {
    switch kind {
    case .ipv4: AF_INET
    case .ipv6: AF_INET6
    case .unix: AF_UNIX
    }
  }

  /// Hands the address on in the form system calls take.
  func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    var storage = sockaddr_storage()
    let length: Int
    switch kind {
    case .ipv4(let host, let port):
      length = MemoryLayout<sockaddr_in>.size
      _ = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
          unsafe uv_ip4_addr(host, Int32(port), $0)
        }
      }
    case .ipv6(let host, let port):
      length = MemoryLayout<sockaddr_in6>.size
      _ = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
          unsafe uv_ip6_addr(host, Int32(port), $0)
        }
      }
    case .unix(let path):
      let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
      storage.ss_family = sa_family_t(AF_UNIX)
      unsafe withUnsafeMutableBytes(of: &storage) { bytes in
        unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).copyBytes(from: path.utf8)
      }
      length = offset + path.utf8.count + 1
    }
    return unsafe withUnsafePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(length))
      }
    }
  }
}

extension SocketAddress: CustomStringConvertible {
  /// gRPC's naming. Source: grpc/grpc `doc/naming.md`.
  package var description: String {
    switch kind {
    case .ipv4(let host, let port): "ipv4:\(host):\(port)"
    case .ipv6(let host, let port): "ipv6:[\(host)]:\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
}
