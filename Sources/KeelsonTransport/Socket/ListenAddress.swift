/// Where a server listens: `127.0.0.1:7400`, `[::1]:0`, `localhost:7400` or `unix:/path`.
package struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
  /// Without names: `localhost` stands for 127.0.0.1. Port 0 asks for any free port.
  package let address: SocketAddress

  package init(_ address: SocketAddress) {
    self.address = address
  }

  /// Reads an address as a person writes it.
  ///
  /// - Throws: ``SocketError`` with code `invalidAddress` that says what would be right.
  package init(parsing text: String) throws(SocketError) {
    if text.hasPrefix("unix:") {
      address = try Self.unix(String(text.dropFirst("unix:".count)), in: text)
      return
    }
    guard let colon = text.lastIndex(of: ":") else {
      throw Self.refused(text, "a port is missing; write 127.0.0.1:7400, [::1]:7400 or unix:/path")
    }
    var host = String(text[..<colon])
    let portText = text[text.index(after: colon)...]
    guard !portText.isEmpty, portText.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
      let port = UInt16(portText)
    else {
      throw Self.refused(text, "\"\(portText)\" is no port; ports are numbers from 0 to 65535")
    }
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
      guard host.contains(":") else {
        throw Self.refused(text, "brackets are for IPv6 addresses, [::1]:7400 for example")
      }
    } else if host.contains(":") {
      throw Self.refused(text, "an IPv6 address stands in brackets, [::1]:7400 for example")
    }
    if host == "localhost" { host = "127.0.0.1" }
    guard !host.isEmpty else {
      throw Self.refused(
        text, "the host is missing; 127.0.0.1 is this machine only, 0.0.0.0 every network of it")
    }
    guard let address = SocketAddress(numericHost: host, port: port) else {
      throw Self.refused(text, "\"\(host)\" is no IP address; write it in numbers, or localhost")
    }
    self.address = address
  }

  private static func unix(_ path: String, in text: String) throws(SocketError) -> SocketAddress {
    // unix:///path is the same as unix:/path: grpc/grpc doc/naming.md.
    var path = path
    if path.hasPrefix("//") {
      path = String(path.dropFirst(2))
      guard path.hasPrefix("/") else {
        throw refused(text, "after unix:// comes an absolute path, unix:///run/keelson.sock")
      }
      path = "/" + path.drop { $0 == "/" }
    }
    guard !path.isEmpty else {
      throw refused(text, "the socket's path is missing; write unix:/path")
    }
    guard let address = SocketAddress(unixPath: path) else {
      throw refused(
        text,
        "the path has \(path.utf8.count) bytes; a Unix socket's path has at most "
          + "\(SocketAddress.maximumPathBytes) and no NUL")
    }
    return address
  }

  private static func refused(_ text: String, _ rule: String) -> SocketError {
    SocketError(.invalidAddress, "\"\(text)\" is no address to listen on: \(rule).")
  }

  /// As a person writes it.
  package var description: String {
    switch address.kind {
    case .ipv4(let host, let port): "\(host):\(port)"
    case .ipv6(let host, let port): "[\(host)]:\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }

  package var isUnix: Bool {
    if case .unix = address.kind { true } else { false }
  }

  /// Whether only this machine can reach it: a loopback address or a Unix socket.
  package var isLocal: Bool {
    switch address.kind {
    case .ipv4(let host, _): host.hasPrefix("127.")
    case .ipv6(let host, _): host == "::1"
    case .unix: true
    }
  }
}

/// An address a server listens on now; a port of 0 has become the one it got.
package typealias BoundAddress = ListenAddress
