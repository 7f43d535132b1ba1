public import KeelsonCore

/// Where a server is, as people write it: `127.0.0.1:7400`, `[::1]:7400`, `localhost:7400`,
/// `dns:///host:7400`, `ipv4:10.0.0.1:7400,10.0.0.2:7400`, `unix:/run/keelson.sock`; several hosts
/// with commas between them: `a:7400,b:7400`. Calls carry the first one's name as `:authority`.
/// Source: grpc/grpc `doc/naming.md`; the list of hosts is our own.
///
/// A port that is left out is 7400, Keelson's own.
public struct Target: Sendable, Hashable {
  /// The port of a target that names none.
  public static let defaultPort: UInt16 = 7400

  /// What there is to connect to.
  package enum Endpoint: Sendable, Hashable {
    /// A name to be resolved.
    case name(host: String, port: UInt16)
    /// An IPv4 or IPv6 address in numbers.
    case numeric(host: String, port: UInt16)
    /// A Unix socket.
    case unix(path: String)
  }

  /// Whether it is a Unix socket.
  package var isUnix: Bool {
    if case .unix = endpoints[0] { true } else { false }
  }

  /// The target as it was written.
  public let text: String
  /// Never empty; tried one after the other.
  package let endpoints: [Endpoint]
  /// The `:authority` of calls to this target.
  package let authority: String

  /// Reads a target.
  ///
  /// - Throws: INVALID_ARGUMENT with a message that says what is wrong and how to write it.
  public init(_ text: String) throws(RPCError) {
    self.text = text
    (endpoints, authority) = try TargetParser(text: text).parse()
  }
}

extension Target: CustomStringConvertible {
  public var description: String { text }
}

/// Reads the text of a target.
private struct TargetParser {
  let text: String

  func parse() throws(RPCError) -> (endpoints: [Target.Endpoint], authority: String) {
    guard !text.isEmpty else { throw wrong("it is empty") }
    if let path = rest(after: "unix:") { return try (unix(path), "localhost") }
    if let list = rest(after: "ipv4:") { return try addresses(list) }
    if let list = rest(after: "ipv6:") { return try addresses(list) }
    if let name = rest(after: "dns:") { return try dns(name) }
    if let separator = text.firstRange(of: "://") {
      throw wrong(
        "\(text[..<separator.upperBound]) is no scheme of a target; write host:port")
    }
    return try hosts(text)
  }

  private func rest(after scheme: String) -> String? {
    text.hasPrefix(scheme) ? String(text.dropFirst(scheme.count)) : nil
  }

  private func unix(_ text: String) throws(RPCError) -> [Target.Endpoint] {
    var path = text
    if path.hasPrefix("//") {
      path = String(path.dropFirst(2))
      guard path.hasPrefix("/") else {
        throw wrong("after unix:// comes an absolute path: unix:///path")
      }
    }
    guard !path.isEmpty else { throw wrong("the path of the Unix socket is missing") }
    // sockaddr_un has room for 107 bytes and a zero.
    guard path.utf8.count <= 107 else {
      throw wrong("the path of a Unix socket has at most 107 bytes, this one \(path.utf8.count)")
    }
    return [.unix(path: path)]
  }

  private func addresses(_ list: String) throws(RPCError) -> ([Target.Endpoint], String) {
    var endpoints: [Target.Endpoint] = []
    var authority = ""
    for part in list.split(separator: ",", omittingEmptySubsequences: false) {
      let (host, port) = try hostAndPort(String(part))
      guard isNumeric(host) else { throw wrong("\"\(host)\" is no address in numbers") }
      if endpoints.isEmpty { authority = joined(host, port) }
      endpoints.append(.numeric(host: host, port: port))
    }
    return (endpoints, authority)
  }

  private func dns(_ text: String) throws(RPCError) -> ([Target.Endpoint], String) {
    guard text.hasPrefix("//") else { return try hosts(text) }
    let rest = text.dropFirst(2)
    guard let slash = rest.firstIndex(of: "/") else {
      throw wrong("after dns:// come a slash and the name: dns:///host:port")
    }
    guard rest[..<slash].isEmpty else {
      throw wrong("naming a DNS server is not supported; write dns:///host:port")
    }
    return try hosts(String(rest[slash...].dropFirst()))
  }

  private func hosts(_ text: String) throws(RPCError) -> ([Target.Endpoint], String) {
    var endpoints: [Target.Endpoint] = []
    var authority = ""
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let (host, port) = try hostAndPort(String(part))
      if endpoints.isEmpty { authority = joined(host, port) }
      endpoints.append(
        isNumeric(host) ? .numeric(host: host, port: port) : .name(host: host, port: port))
    }
    return (endpoints, authority)
  }

  private func hostAndPort(_ text: String) throws(RPCError) -> (String, UInt16) {
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else { throw wrong("the bracket is not closed") }
      let host = String(text[text.index(after: text.startIndex)..<end])
      guard isNumeric(host), host.contains(":") else {
        throw wrong("between brackets stands an IPv6 address")
      }
      let rest = text[text.index(after: end)...]
      if rest.isEmpty { return (host, Target.defaultPort) }
      guard rest.hasPrefix(":") else { throw wrong("after the bracket comes :port") }
      return (host, try port(rest.dropFirst()))
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2 else {
      throw wrong("an IPv6 address stands between brackets: [::1]:\(Target.defaultPort)")
    }
    let host = String(parts[0])
    guard !host.isEmpty else { throw wrong("the host is missing: write host:port") }
    let allowed = host.utf8.allSatisfy { byte in
      byte > 0x20 && byte != 0x7F && !"/@?#\\\"".utf8.contains(byte)
    }
    guard allowed else { throw wrong("\"\(host)\" is no host name") }
    return (host, parts.count == 2 ? try port(parts[1]) : Target.defaultPort)
  }

  private func port(_ text: Substring) throws(RPCError) -> UInt16 {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(text), port > 0
    else { throw wrong("a port is a number from 1 to 65535, not \"\(text)\"") }
    return port
  }

  private func isNumeric(_ host: String) -> Bool {
    SocketAddress(numericHost: host, port: 1) != nil
  }

  private func joined(_ host: String, _ port: UInt16) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  private func wrong(_ reason: String) -> RPCError {
    RPCError(.invalidArgument, "The target \"\(text)\" cannot be used: \(reason).")
  }
}
