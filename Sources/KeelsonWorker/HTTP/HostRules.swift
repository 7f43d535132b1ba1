package import KeelsonCore
import KeelsonHTTP

/// Which hosts a worker calls.
///
/// Jobs are created by whoever may create jobs, and the worker stands where it reaches more than
/// they do: the network behind the firewall, services of its own machine, the cloud's metadata. So
/// a name counts as much as the address that it leads to, which is judged when the connection is
/// made.
package struct HostRules: Sendable, Hashable {
  private enum Pattern: Hashable {
    /// `*`: whatever has a public address.
    case anyPublic
    /// A name, with a port or any.
    case name(String, port: Int?)
    /// `*.example.com`: every name below, with a port or any.
    case below(String, port: Int?)
    /// An address or a range of them.
    case network(IPNetwork)
  }

  private let patterns: [Pattern]

  /// - Parameter patterns: as `--http-allow` has them; none: `*`.
  /// - Throws: ``RPCError`` INVALID_ARGUMENT for a pattern that is none.
  package init(_ patterns: [String]) throws(RPCError) {
    var read: [Pattern] = []
    for text in patterns.isEmpty ? ["*"] : patterns { read.append(try Self.pattern(text)) }
    self.patterns = read
  }

  private static func pattern(_ text: String) throws(RPCError) -> Pattern {
    if text == "*" { return .anyPublic }
    if let network = IPNetwork(text) { return .network(network) }
    var name = Substring(text)
    var port: Int?
    if let colon = text.lastIndex(of: ":") {
      port = Int(text[text.index(after: colon)...])
      name = text[..<colon]
    }
    let isBelow = name.hasPrefix("*.")
    if isBelow { name = name.dropFirst(2) }
    let isName =
      !name.isEmpty && !name.hasPrefix(".") && !name.hasSuffix(".")
      && name.utf8.allSatisfy {
        switch $0 {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
        default: false
        }
      }
    guard isName, !text.contains(":") || port.map({ (1...65_535).contains($0) }) == true,
      IPAddress(name) == nil
    else {
      throw RPCError(
        .invalidArgument,
        "'\(text)' is no host to allow: give a name, *.name for all below it, either with :port; "
          + "an address or range such as 10.0.0.0/8; or * for whatever has a public address.")
    }
    let lower = name.lowercased()
    return isBelow ? .below(lower, port: port) : .name(lower, port: port)
  }

  /// Which addresses a call to a host may go to; nil: the host is not called at all.
  func addresses(for host: String, port: Int) -> (@Sendable (IPAddress) -> Bool)? {
    var isNamed = false
    var isAnyPublic = false
    var networks: [IPNetwork] = []
    for pattern in patterns {
      switch pattern {
      case .anyPublic: isAnyPublic = true
      case .name(let name, let wanted):
        isNamed = isNamed || name == host && (wanted ?? port) == port
      case .below(let name, let wanted):
        isNamed = isNamed || host.hasSuffix(".\(name)") && (wanted ?? port) == port
      case .network(let network): networks.append(network)
      }
    }
    guard isNamed || isAnyPublic || !networks.isEmpty else { return nil }
    let allows: @Sendable (IPAddress) -> Bool = { [isNamed, isAnyPublic, networks] address in
      if networks.contains(where: { $0.contains(address) }) { return true }
      // Who names a host trusts who says where it is, but not with the keys to the cloud.
      guard !address.isSensitive else { return false }
      return isNamed || isAnyPublic && address.isPublic
    }
    if let address = IPAddress(host), !allows(address) { return nil }
    return allows
  }
}
