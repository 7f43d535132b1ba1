/// Where values of warm sets may come from: `https://host[:port]`, `http://` as well.
package struct WarmOrigin: Sendable, Hashable, CustomStringConvertible {
  private let scheme: String
  /// In lower case; an IPv6 address in brackets.
  private let host: String
  private let port: UInt16

  /// Reads an origin as it stands in a setting.
  ///
  /// - Throws: ``WarmOriginProblem`` that says what would be right.
  package init(_ text: String) throws(WarmOriginProblem) {
    let rest: Substring
    (self, rest) = try Self.reading(text)
    guard rest.isEmpty || rest == "/" else {
      throw WarmOriginProblem(
        "has '\(rest.prefix(64))' behind the host and port; an origin ends there")
    }
  }

  /// The origin of a URL.
  ///
  /// It reads less than the standard allows, so that it never sees another host than who connects:
  /// no user, no fragment, no characters that would have to be escaped. Source: RFC 3986, RFC 6454.
  ///
  /// - Throws: ``WarmOriginProblem``.
  package init(ofURL text: String) throws(WarmOriginProblem) {
    (self, _) = try Self.reading(text)
  }

  package var description: String { "\(scheme)://\(host):\(port)" }

  private init(scheme: String, host: String, port: UInt16) {
    self.scheme = scheme
    self.host = host
    self.port = port
  }

  /// - Returns: the origin, and what stands behind it.
  private static func reading(
    _ text: String
  ) throws(WarmOriginProblem) -> (WarmOrigin, Substring) {
    guard text.utf8.count <= maximumBytes else {
      throw WarmOriginProblem("has \(text.utf8.count) bytes; \(maximumBytes) are allowed")
    }
    guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && !forbidden.contains($0) }) else {
      throw WarmOriginProblem("has a character that has to be escaped ('%20') or left out")
    }
    let lowered = text.prefix(8).lowercased()
    let scheme = ["https", "http"].first { lowered.hasPrefix("\($0)://") }
    guard let scheme else {
      throw WarmOriginProblem("does not begin with 'https://' or 'http://'")
    }
    let rest = text.dropFirst(scheme.utf8.count + 3)
    let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    let authority = rest[..<end]
    guard !authority.contains("@") else {
      throw WarmOriginProblem("has a user or a password in it, which are not sent")
    }
    let (host, port) = try reading(
      authority: authority, byDefault: scheme == "https" ? 443 : 80)
    return (
      WarmOrigin(scheme: scheme, host: host.lowercased(), port: port), rest[end...]
    )
  }

  private static func reading(
    authority: Substring, byDefault port: UInt16
  ) throws(WarmOriginProblem) -> (host: Substring, port: UInt16) {
    var host = authority
    var number: Substring?
    if authority.hasPrefix("[") {
      guard let close = authority.firstIndex(of: "]") else {
        throw WarmOriginProblem("has '[' without ']'")
      }
      host = authority[...close]
      let behind = authority[authority.index(after: close)...]
      guard behind.isEmpty || behind.hasPrefix(":") else {
        throw WarmOriginProblem("has something else than a port behind ']'")
      }
      if !behind.isEmpty { number = behind.dropFirst() }
    } else if let colon = authority.firstIndex(of: ":") {
      host = authority[..<colon]
      number = authority[authority.index(after: colon)...]
    }
    guard isHost(host) else {
      throw WarmOriginProblem("has no host that can be: '\(host.prefix(64))'")
    }
    guard let number else { return (host, port) }
    guard number.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let given = UInt16(number),
      given > 0
    else {
      throw WarmOriginProblem("has the port '\(number.prefix(16))'; 1 to 65535 are allowed")
    }
    return (host, given)
  }

  private static func isHost(_ host: Substring) -> Bool {
    if host.hasPrefix("[") {
      let inner = host.utf8.dropFirst().dropLast()
      return inner.count >= 2
        && inner.allSatisfy { isLetterOrDigit($0) || $0 == 0x3A || $0 == 0x2E }
    }
    return !host.isEmpty
      && host.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      return true
    default: return false
    }
  }

  package static let maximumBytes = 2_048
  private static let forbidden = Set("\"#<>\\^`{|}".utf8)
}

/// What is wrong with an origin or a URL, as the end of a sentence that begins with the field's name.
package struct WarmOriginProblem: Error, Hashable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
