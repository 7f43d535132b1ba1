import KeelsonHTTP

/// The address of a call, taken apart so that its host can be judged, and put together from what
/// was judged: no other program reads another host in it. Source: RFC 3986 section 3.
struct RequestURL: Sendable, Hashable {
  /// `http` or `https`.
  let scheme: String
  /// In small letters, without a dot at its end; an address of IPv6 without its brackets.
  let host: String
  let port: Int
  /// Path and query.
  let path: String

  struct Problem: Error, Hashable {
    /// A clause without the parameter's name.
    let text: String
  }

  init(_ text: String) throws(Problem) {
    guard let mark = text.firstRange(of: "://") else {
      throw Problem(text: "is to begin with https:// or http://")
    }
    scheme = text[..<mark.lowerBound].lowercased()
    guard scheme == "https" || scheme == "http" else {
      throw Problem(text: "is to begin with https:// or http://; nothing else is called")
    }
    guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }) else {
      throw Problem(text: "has characters that a URL does not have; write them as %XX")
    }
    guard !text.contains("#") else { throw Problem(text: "has a fragment (#), which is not sent") }
    let rest = text[mark.upperBound...]
    let authority = rest.prefix { $0 != "/" && $0 != "?" }
    guard !authority.contains("@") else {
      throw Problem(text: "has a name or password in it; give them in a header")
    }
    var name = authority
    var port = scheme == "https" ? 443 : 80
    // A colon inside brackets belongs to an address of IPv6.
    if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
      guard let number = Int(authority[authority.index(after: colon)...]),
        (1...65_535).contains(number)
      else { throw Problem(text: "has a port that is no number from 1 to 65535") }
      port = number
      name = authority[..<colon]
    }
    self.port = port
    host = try Self.host(name)
    let path = rest[authority.endIndex...]
    self.path = path.hasPrefix("/") ? String(path) : "/\(path)"
  }

  private static func host(_ name: Substring) throws(Problem) -> String {
    if name.hasPrefix("[") {
      guard name.hasSuffix("]"), let address = IPAddress(name), name.contains(":") else {
        throw Problem(text: "has brackets around what is no address of IPv6")
      }
      return address.bytes.count == 16 ? address.description : "::ffff:\(address)"
    }
    let host = (name.hasSuffix(".") ? name.dropLast() : name).lowercased()
    guard !host.isEmpty else { throw Problem(text: "has no host") }
    let isName = host.utf8.allSatisfy {
      switch $0 {
      case 0x30...0x39, 0x61...0x7A, UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
      default: false
      }
    }
    guard isName else {
      throw Problem(
        text: "has a host with other characters than letters, digits, '.', '-' and '_'")
    }
    return host
  }

  private var origin: String {
    let isUsual = port == (scheme == "https" ? 443 : 80)
    let host = host.contains(":") ? "[\(host)]" : host
    return "\(scheme)://\(host)" + (isUsual ? "" : ":\(port)")
  }

  /// All of it, as it is called.
  var text: String { origin + path }

  /// For sentences and logs: without the query, in which secrets may stand.
  var shown: String { origin + path.prefix { $0 != "?" } }
}
