import Glibc

/// Counts a server's connections, all together and by where they come from; a value without I/O.
struct ConnectionCounts {
  /// Why a connection is refused: the limit it would go past.
  enum Refusal: Equatable {
    case tooMany(Int)
    case tooManyFromAddress(Int)
  }

  private(set) var total = 0
  private var byNetwork: [PeerNetwork: Int] = [:]

  /// Counts a connection, unless there are too many.
  ///
  /// - Parameter peer: in gRPC's naming, `ipv4:192.0.2.1:5000` for example.
  mutating func admit(_ peer: String, _ configuration: ServerConfiguration) -> Refusal? {
    guard total < configuration.maximumConnections else {
      return .tooMany(configuration.maximumConnections)
    }
    if let network = PeerNetwork(peer: peer) {
      let limit =
        network.isLoopback
        ? configuration.maximumConnectionsPerLoopbackAddress
        : configuration.maximumConnectionsPerAddress
      let count = byNetwork[network, default: 0]
      guard count < limit else { return .tooManyFromAddress(limit) }
      byNetwork[network] = count + 1
    }
    total += 1
    return nil
  }

  /// A connection that was counted has ended.
  mutating func ended(_ peer: String) {
    total -= 1
    guard let network = PeerNetwork(peer: peer), let count = byNetwork[network] else { return }
    byNetwork[network] = count > 1 ? count - 1 : nil
  }
}

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, which is what one
/// customer has at least (RFC 6177).
struct PeerNetwork: Hashable {
  private let bytes: [UInt8]
  let isLoopback: Bool

  /// - Parameter peer: in gRPC's naming; nil for what has no address, Unix sockets above all.
  init?(peer: String) {
    if peer.hasPrefix("ipv4:") {
      let host = peer.dropFirst(5).prefix { $0 != ":" }
      var address = in_addr()
      guard unsafe inet_pton(AF_INET, String(host), &address) == 1 else { return nil }
      bytes = unsafe withUnsafeBytes(of: address) { unsafe Array($0) }
      isLoopback = bytes[0] == 127
    } else if peer.hasPrefix("ipv6:[") {
      let host = peer.dropFirst(6).prefix { $0 != "]" && $0 != "%" }
      var address = in6_addr()
      guard unsafe inet_pton(AF_INET6, String(host), &address) == 1 else { return nil }
      let all = unsafe withUnsafeBytes(of: address) { unsafe Array($0) }
      bytes = Array(all[..<8])
      isLoopback = all == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    } else {
      return nil
    }
  }
}
