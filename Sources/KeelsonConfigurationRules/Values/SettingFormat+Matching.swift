import KeelsonCore

extension SettingFormat {
  /// Whether a string is of the format. Takes time in proportion to its length.
  package func matches(_ text: String) -> Bool {
    switch self {
    case .uri: Self.isURI(text)
    case .host: Self.isHost(text[...])
    case .hostAndPort: Self.isHostAndPort(text)
    case .email: Self.isEmail(text)
    case .date: Self.isDate(text[...])
    case .dateTime: Self.isDateTime(text)
    case .uuid: Self.isUUID(text)
    case .ipAddress: Self.isIPv4(text[...]) || Self.isIPv6(text[...])
    case .json: (try? JSONValue(parsing: text)) != nil
    case .base64: Self.isBase64(text)
    }
  }

  private static func isURI(_ text: String) -> Bool {
    guard let colon = text.firstIndex(of: ":"), let first = text.utf8.first, isLetter(first) else {
      return false
    }
    let isScheme = text[..<colon].utf8.allSatisfy {
      isLetter($0) || isDigit($0) || $0 == 0x2B || $0 == 0x2D || $0 == 0x2E
    }
    let rest = text[text.index(after: colon)...]
    return isScheme && !rest.isEmpty && rest != "//"
      && rest.utf8.allSatisfy {
        $0 > 0x20 && $0 < 0x7F
          && ![0x22, 0x3C, 0x3E, 0x5C, 0x5E, 0x60, 0x7B, 0x7C, 0x7D].contains($0)
      }
  }

  private static func isHost(_ text: Substring) -> Bool {
    isIPv6(text) || isHostName(text)
  }

  /// Labels of letters, digits and hyphens; so an IPv4 address is one.
  private static func isHostName(_ text: Substring) -> Bool {
    (1...253).contains(text.utf8.count)
      && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
        (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
          && label.utf8.allSatisfy { isLetter($0) || isDigit($0) || $0 == 0x2D || $0 == 0x5F }
      }
  }

  private static func isHostAndPort(_ text: String) -> Bool {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (1...65_535).contains(port)
    else { return false }
    let host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") { return isIPv6(host.dropFirst().dropLast()) }
    return isHostName(host)
  }

  private static func isEmail(_ text: String) -> Bool {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, (1...64).contains(parts[0].utf8.count) else { return false }
    let isLocal = parts[0].utf8.allSatisfy {
      isLetter($0) || isDigit($0) || Array("!#$%&'*+-/=?^_`{|}~.".utf8).contains($0)
    }
    return isLocal && !parts[0].hasPrefix(".") && !parts[0].hasSuffix(".")
      && !parts[0].contains("..") && isHostName(parts[1])
  }

  private static func isDate(_ text: Substring) -> Bool {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 3, let year = digits(parts[0], 4), let month = digits(parts[1], 2),
      let day = digits(parts[2], 2), (1...12).contains(month), day >= 1
    else { return false }
    let isLeap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
    let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return day <= days[month - 1]
  }

  private static func isDateTime(_ text: String) -> Bool {
    guard text.utf8.count >= 20, text.utf8.count <= 40 else { return false }
    let date = text.prefix(10)
    let separator = text.dropFirst(10).first
    guard isDate(date), separator == "T" || separator == "t" || separator == " " else {
      return false
    }
    var rest = text.dropFirst(11)
    guard isClock(rest.prefix(8), parts: 3, lastMaximum: 60) else { return false }
    rest = rest.dropFirst(8)
    if rest.first == "." {
      let fraction = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
      guard !fraction.isEmpty else { return false }
      rest = rest.dropFirst(1 + fraction.count)
    }
    if rest == "Z" || rest == "z" { return true }
    guard rest.first == "+" || rest.first == "-" else { return false }
    return isClock(rest.dropFirst(), parts: 2, lastMaximum: 59)
  }

  private static func isClock(_ text: Substring, parts count: Int, lastMaximum: Int) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { digits($0, 2) }
    guard parts.count == count, numbers.count == count else { return false }
    return numbers[0] <= 23 && numbers[1] <= 59 && numbers[count - 1] <= lastMaximum
  }

  private static func isUUID(_ text: String) -> Bool {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    return parts.map(\.utf8.count) == [8, 4, 4, 4, 12]
      && parts.allSatisfy { $0.allSatisfy { $0.isASCII && $0.isHexDigit } }
  }

  private static func isIPv4(_ text: Substring) -> Bool {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4
      && parts.allSatisfy { part in
        (1...3).contains(part.utf8.count) && part.utf8.allSatisfy(isDigit)
          && (Int(part) ?? 256) <= 255 && (part.utf8.count == 1 || part.first != "0")
      }
  }

  /// Source: RFC 4291, section 2.2; no zone.
  private static func isIPv6(_ text: Substring) -> Bool {
    let halves = text.split(separator: "::", omittingEmptySubsequences: false)
    guard halves.count <= 2, text.contains(":") else { return false }
    var groups = 0
    for (index, half) in halves.enumerated() where !half.isEmpty {
      let parts = half.split(separator: ":", omittingEmptySubsequences: false)
      for (place, part) in parts.enumerated() {
        if part.contains(".") {
          guard index == halves.count - 1, place == parts.count - 1, isIPv4(part) else {
            return false
          }
          groups += 2
        } else {
          guard (1...4).contains(part.utf8.count),
            part.allSatisfy({ $0.isASCII && $0.isHexDigit })
          else { return false }
          groups += 1
        }
      }
    }
    return halves.count == 2 ? groups <= 7 : groups == 8
  }

  private static func isBase64(_ text: String) -> Bool {
    let bytes = text.utf8
    guard bytes.count % 4 == 0 else { return false }
    let padding = bytes.reversed().prefix { $0 == 0x3D }.count
    return padding <= 2
      && bytes.dropLast(padding).allSatisfy {
        isLetter($0) || isDigit($0) || $0 == 0x2B || $0 == 0x2F
      }
  }

  // MARK: Characters

  private static func digits(_ text: Substring, _ count: Int) -> Int? {
    guard text.utf8.count == count, text.utf8.allSatisfy(isDigit) else { return nil }
    return Int(text)
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
}
