package import KeelsonCore
import KeelsonTransport

/// Where a Redis is and how to log in: `redis://user:password@host:port/database`, or `rediss://` with
/// TLS.
///
/// The port is 6379 and the database 0 when they are left out. Characters that have a meaning there
/// are written `%XX`. With TLS, `?ca=FILE` names the certificates to trust in place of the system's, and
/// `cert=FILE` and `key=FILE` a certificate of the client's.
package struct RedisURL: Sendable, Hashable {
  package static let defaultPort: UInt16 = 6379

  package var isSecure: Bool
  package var user: String?
  package var password: SecretValue?
  /// A name or an address in numbers, without brackets.
  package var host: String
  package var port: UInt16
  package var database: Int
  package var caFile: String?
  package var certificateFile: String?
  package var keyFile: String?

  /// - Throws: ``RedisError`` with code refused; its sentence never holds the password.
  package init(_ text: String) throws(RedisError) {
    guard let scheme = text.firstRange(of: "://") else {
      throw Self.wrong("it has no ://")
    }
    switch text[..<scheme.lowerBound].lowercased() {
    case "redis": isSecure = false
    case "rediss": isSecure = true
    case "redis-sentinel", "rediss-sentinel", "redis+sentinel", "rediss+sentinel":
      throw Self.wrong(
        "Sentinel is not supported: give the address of the primary, or of a proxy that follows it")
    case "redis-cluster", "rediss-cluster", "redis+cluster", "rediss+cluster":
      throw Self.wrong("a Redis Cluster is not supported: give one Redis that is no part of one")
    case "redis+unix", "redis-socket", "unix":
      throw Self.wrong("a Unix socket is not supported: have Redis listen on a port")
    case let other:
      throw Self.wrong(
        other.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "+-.".contains($0)) }
          ? "'\(other)' is another kind of address" : "what comes before :// is no kind of address")
    }
    var rest = text[scheme.upperBound...]
    if let hash = rest.firstIndex(of: "#") {
      guard rest[hash...].count == 1 else {
        throw Self.wrong("a '#' in the user or the password is written %23")
      }
      rest = rest[..<hash]
    }
    var query: Substring = ""
    if let mark = rest.firstIndex(of: "?") {
      query = rest[rest.index(after: mark)...]
      rest = rest[..<mark]
    }
    // Of several '@' the last ends the password, which then holds the others.
    if let at = rest.lastIndex(of: "@") {
      let login = rest[..<at]
      rest = rest[rest.index(after: at)...]
      let parts = login.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      user = try Self.decoded(parts[0], "user")
      if parts.count == 2 {
        password = SecretValue(try Self.decoded(parts[1], "password") ?? "")
      } else if user != nil {
        throw Self.wrong("there is a user without a password")
      }
      if password?.isEmpty == true { password = nil }
      if user != nil, password == nil { throw Self.wrong("there is a user without a password") }
    }
    let parts = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    (host, port) = try Self.place(parts[0])
    database = parts.count == 2 ? try Self.database(parts[1]) : 0
    try readQuery(query)
  }

  /// The same for the look for its addresses.
  var target: Target {
    get throws(RedisError) {
      do throws(RPCError) {
        return try Target(host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)")
      } catch {
        throw Self.wrong("'\(host)' is no host")
      }
    }
  }

  private static func place(_ text: Substring) throws(RedisError) -> (String, UInt16) {
    guard !text.contains(",") else {
      throw wrong("several hosts are not supported: give one Redis")
    }
    var host = text
    var port: Substring?
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else { throw wrong("the bracket is not closed") }
      host = text[text.index(after: text.startIndex)..<end]
      let behind = text[text.index(after: end)...]
      guard behind.isEmpty || behind.hasPrefix(":") else {
        throw wrong("after the bracket comes :port")
      }
      port = behind.isEmpty ? nil : behind.dropFirst()
      guard host.contains(":"), SocketAddress(numericHost: String(host), port: 1) != nil else {
        throw wrong("between brackets stands an IPv6 address")
      }
    } else {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2 else {
        throw wrong("an IPv6 address stands between brackets: redis://[::1]:6379")
      }
      host = parts[0]
      port = parts.count == 2 ? parts[1] : nil
      guard host.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F && $0 != 0x25 }) else {
        throw wrong("the host has a character that no host has")
      }
    }
    guard !host.isEmpty else { throw wrong("the host is missing") }
    guard let port else { return (String(host), defaultPort) }
    // What stands there may be a part of the password, and is not shown.
    guard port.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(port),
      number > 0
    else { throw wrong("the port is no number from 1 to 65535") }
    return (String(host), number)
  }

  private static func database(_ text: Substring) throws(RedisError) -> Int {
    if text.isEmpty { return 0 }
    guard text.count <= 9, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let number = Int(text)
    else { throw wrong("the database is a number, 0 for the first") }
    return number
  }

  private mutating func readQuery(_ query: Substring) throws(RedisError) {
    for part in query.split(separator: "&") {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard pair.count == 2, let value = try Self.decoded(pair[1], "query") else {
        throw Self.wrong("after '?' comes name=value")
      }
      switch pair[0] {
      case "ca": caFile = value
      case "cert": certificateFile = value
      case "key": keyFile = value
      default: throw Self.wrong("after '?' there is something other than ca, cert and key")
      }
    }
    guard isSecure || caFile == nil && certificateFile == nil && keyFile == nil else {
      throw Self.wrong("ca, cert and key are for rediss://")
    }
    guard (certificateFile == nil) == (keyFile == nil) else {
      throw Self.wrong("cert and key belong together")
    }
  }

  /// nil for an empty text.
  private static func decoded(_ text: Substring, _ what: String) throws(RedisError) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit)
      else {
        throw wrong(
          "in the \(what) '%' is not followed by two hexadecimal digits; '%' itself is %25")
      }
      bytes.append(high << 4 | low)
    }
    guard let decoded = String(validating: bytes, as: UTF8.self), !decoded.contains("\0") else {
      throw wrong("the \(what) is no text in UTF-8")
    }
    return decoded.isEmpty ? nil : decoded
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) }
  }

  private static func wrong(_ reason: String) -> RedisError {
    RedisError(
      .refused,
      """
      The cache's address cannot be used: \(reason). It is written \
      redis://user:password@host:port/database, or rediss:// with TLS; characters that have a \
      meaning there are written %XX.
      """)
  }
}

extension RedisURL: CustomStringConvertible {
  /// Where it is, for people: without the login.
  package var description: String {
    let place = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    return "\(isSecure ? "rediss" : "redis")://\(place)/\(database)"
  }
}
