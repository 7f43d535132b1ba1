import Glibc

/// An address of IPv4 or IPv6. One of IPv4 in IPv6's clothes (`::ffff:1.2.3.4`) is that of IPv4.
package struct IPAddress: Sendable, Hashable, CustomStringConvertible {
  /// 4 or 16.
  package let bytes: [UInt8]

  private init(normalizing bytes: [UInt8]) {
    let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
    self.bytes = bytes.count == 16 && bytes.starts(with: mapped) ? Array(bytes[12...]) : bytes
  }

  /// Reads `10.1.2.3`, `fd00::1` or `[fd00::1]`; nil for anything else.
  package init?(_ text: some StringProtocol) {
    var inner = String(text)
    let isBracketed = inner.hasPrefix("[") && inner.hasSuffix("]") && inner.utf8.count > 2
    if isBracketed { inner = String(inner.dropFirst().dropLast()) }
    var four = in_addr()
    var six = in6_addr()
    if !isBracketed, unsafe inet_pton(AF_INET, inner, &four) == 1 {
      self.init(normalizing: unsafe withUnsafeBytes(of: &four) { unsafe Array($0) })
    } else if unsafe inet_pton(AF_INET6, inner, &six) == 1 {
      self.init(normalizing: unsafe withUnsafeBytes(of: &six) { unsafe Array($0) })
    } else {
      return nil
    }
  }

  /// nil for families that are neither.
  ///
  /// - Parameter address: a `sockaddr_in` or `sockaddr_in6`, as the family says.
  @unsafe init?(_ address: UnsafeRawPointer, family: Int32) {
    switch family {
    case AF_INET:
      var four = unsafe address.loadUnaligned(as: sockaddr_in.self).sin_addr
      self.init(normalizing: unsafe withUnsafeBytes(of: &four) { unsafe Array($0) })
    case AF_INET6:
      var six = unsafe address.loadUnaligned(as: sockaddr_in6.self).sin6_addr
      self.init(normalizing: unsafe withUnsafeBytes(of: &six) { unsafe Array($0) })
    default: return nil
    }
  }

  package var description: String {
    guard bytes.count == 16 else { return bytes.map(String.init).joined(separator: ".") }
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let length = socklen_t(text.count)
    guard unsafe inet_ntop(AF_INET6, bytes, &text, length) != nil else { return "\(bytes)" }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  // MARK: Kinds

  /// Whether it is one of the internet at large: neither private, nor of this machine, nor set
  /// aside for anything else. Source: the IANA registries of special-purpose addresses (RFC 6890).
  package var isPublic: Bool {
    guard bytes.count == 16 else { return !Self.specialFour.contains { $0.contains(self) } }
    return Self.globalSix.contains(self) && !Self.specialSix.contains { $0.contains(self) }
  }

  /// Whether it is of this link only, or one at which clouds give credentials to whoever asks.
  package var isSensitive: Bool { Self.sensitive.contains { $0.contains(self) } }

  private static let specialFour = networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
      + "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 "
      + "203.0.113.0/24 224.0.0.0/3")
  private static let globalSix = networks("2000::/3")[0]
  // 6to4 (2002::/16) and Teredo (in 2001::/23) lead to any address of IPv4.
  private static let specialSix = networks("2001::/23 2001:db8::/32 2002::/16 3fff::/20")
  // The metadata services of AWS, Google and others, also by way of NAT64 (RFC 6052); those of AWS
  // and Google on IPv6, of Azure, Alibaba and Oracle.
  private static let sensitive = networks(
    "169.254.0.0/16 fe80::/10 64:ff9b::a9fe:0/112 fd00:ec2::/32 fd20:ce::254/128 "
      + "168.63.129.16/32 100.100.100.200/32 192.0.0.192/32")

  private static func networks(_ list: String) -> [IPNetwork] {
    list.split(separator: " ").compactMap { IPNetwork($0) }
  }
}

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`; or one.
package struct IPNetwork: Sendable, Hashable {
  private let address: IPAddress
  private let bits: Int

  /// nil for what is no address, with the number of its leading bits or without.
  package init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = IPAddress(parts[0]) else { return nil }
    let length = address.bytes.count * 8
    self.address = address
    guard parts.count == 2 else {
      bits = length
      return
    }
    guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let bits = Int(parts[1]),
      bits <= length
    else { return nil }
    self.bits = bits
  }

  package func contains(_ other: IPAddress) -> Bool {
    guard other.bytes.count == address.bytes.count else { return false }
    let whole = bits / 8
    guard other.bytes[..<whole] == address.bytes[..<whole] else { return false }
    guard bits % 8 != 0 else { return true }
    return (other.bytes[whole] ^ address.bytes[whole]) >> (8 - bits % 8) == 0
  }
}
