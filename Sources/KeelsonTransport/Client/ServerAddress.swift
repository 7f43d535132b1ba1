public import KeelsonCore

/// One address that a server listens on: an IP address with a port, or the path of a Unix socket.
public struct ServerAddress: Sendable, Hashable {
  package let socketAddress: SocketAddress

  /// Reads an address in numbers or a Unix socket: `10.0.0.1:7400`, `[::1]:7400`, `unix:/path`. A
  /// port that is left out is 7400.
  ///
  /// - Throws: INVALID_ARGUMENT for anything else; a name has to be resolved first.
  public init(_ text: String) throws(RPCError) {
    let target = try Target(text)
    guard target.endpoints.count == 1, let address = target.endpoints[0].address else {
      throw RPCError(
        .invalidArgument,
        "\"\(text)\" is not one address in numbers: write 10.0.0.1:7400, [::1]:7400 or unix:/path.")
    }
    self.init(address)
  }

  package init(_ socketAddress: SocketAddress) {
    self.socketAddress = socketAddress
  }
}

extension ServerAddress: CustomStringConvertible {
  /// As people write it: without gRPC's scheme for IP addresses.
  public var description: String {
    switch socketAddress.kind {
    case .ipv4(let host, let port): "\(host):\(port)"
    case .ipv6(let host, let port): "[\(host)]:\(port)"
    case .unix(let path): path
    }
  }
}

extension Target.Endpoint {
  /// The address itself; nil for a name.
  package var address: SocketAddress? {
    switch self {
    case .numeric(let host, let port): SocketAddress(numericHost: host, port: port)
    case .unix(let path): SocketAddress(unixPath: path)
    case .name: nil
    }
  }
}
