import KeelsonCore

/// The address of a store, taken apart so far that two can be compared.
///
/// Source: RFC 3986 section 3, without user information, which would be a secret in a URL.
package struct StoreURL: Sendable, Hashable {
  let scheme: String
  let host: String
  let port: Int
  /// Path and query as they were given; without a slash at its end when it is the whole path.
  let path: String

  /// - Parameters:
  ///   - what: what the URL is for, the beginning of a sentence: `The address of Vault`.
  ///   - allowsPlaintext: whether `http` may lead to other machines, where whoever is in between
  ///     reads the secrets.
  /// - Throws: ``SecretStoreError`` with code `settings`. It does not quote the text: a password may
  ///   stand in it.
  init(
    parsing text: String, what: String, allowsPlaintext: Bool = false
  ) throws(SecretStoreError) {
    func wrong(_ reason: String) -> SecretStoreError {
      SecretStoreError(
        .settings,
        "\(what) is to be a URL such as https://host:port, and what was given is none: \(reason).")
    }
    guard let mark = text.range(of: "://") else {
      throw wrong("it has no https:// before the host")
    }
    scheme = text[..<mark.lowerBound].lowercased()
    guard scheme == "https" || scheme == "http" else {
      throw wrong("its scheme is neither https nor http")
    }
    let rest = text[mark.upperBound...]
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    guard !authority.contains("@") else { throw wrong("a name or password may not stand in it") }
    guard !text.contains("#"), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw wrong("it has characters that a URL does not have")
    }
    (host, port) = try Self.split(authority, scheme: scheme, wrong)
    var path = String(rest[authority.endIndex...])
    if path.hasSuffix("/"), !path.contains("?") { path.removeLast() }
    self.path = path
    guard scheme == "https" || allowsPlaintext || isThisMachine else {
      throw SecretStoreError(
        .settings,
        "\(what), \(origin), would send secrets unencrypted to another machine: give an https URL, "
          + "or one of this machine's own (http://127.0.0.1:port).")
    }
  }

  private static func split(
    _ authority: Substring, scheme: String, _ wrong: (String) -> SecretStoreError
  ) throws(SecretStoreError) -> (host: String, port: Int) {
    var host = authority
    var port = scheme == "https" ? 443 : 80
    // A colon inside brackets belongs to an IPv6 address.
    if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
      guard let number = Int(authority[authority.index(after: colon)...]),
        (1...65_535).contains(number)
      else { throw wrong("its port is no number from 1 to 65535") }
      port = number
      host = authority[..<colon]
    }
    guard !host.isEmpty else { throw wrong("it has no host") }
    return (host.lowercased(), port)
  }

  /// Scheme, host and port, without a port that goes without saying.
  var origin: String {
    let isUsual = port == (scheme == "https" ? 443 : 80)
    return "\(scheme)://\(host)" + (isUsual ? "" : ":\(port)")
  }

  var text: String { origin + path }

  private var isThisMachine: Bool {
    let octets = host.split(separator: ".", omittingEmptySubsequences: false)
    let isLoopback =
      octets.count == 4 && octets[0] == "127" && octets.allSatisfy { UInt8($0) != nil }
    return isLoopback || host == "localhost" || host == "[::1]"
  }
}

extension StringProtocol {
  /// Where a text stands in this one first.
  fileprivate func range(of text: String) -> Range<Index>? { firstRange(of: text) }

  /// With everything that has a meaning of its own in a URL written as `%XX`; slashes stay when
  /// they part a path. Source: RFC 3986 section 2.3.
  func percentEncoded(keepingSlashes: Bool = false) -> String {
    let digits = Array("0123456789ABCDEF")
    return utf8.reduce(into: "") { text, byte in
      let scalar = Character(Unicode.Scalar(byte))
      let isUnreserved =
        byte < 0x80 && (scalar.isLetter || scalar.isNumber || "-._~".contains(scalar))
      if isUnreserved || (keepingSlashes && byte == UInt8(ascii: "/")) {
        text.append(scalar)
      } else {
        text += ["%", digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
  }
}
