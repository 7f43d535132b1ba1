import KeelsonCore

/// A pattern for keys: `*` stands for any run of characters, none among them, `?` for one byte.
/// Colons are characters like others: `acme:accounting:*` matches all that begins so.
package struct CachePattern: Sendable, Hashable {
  package let text: String
  /// What every key that matches begins with.
  package let prefix: String
  /// Whether it is ``prefix`` and one `*`: then a look at the key's beginning is enough.
  private let isPrefix: Bool
  private let bytes: [UInt8]

  /// - Throws: ``CachePatternProblem``.
  package init(_ text: String) throws(CachePatternProblem) {
    guard (1...CacheKey.maximumBytes).contains(text.utf8.count) else {
      throw CachePatternProblem(
        "has \(text.utf8.count) bytes; 1 to \(CacheKey.maximumBytes) are allowed")
    }
    for byte in text.utf8 {
      guard CacheKey.isPrintable(byte) else {
        throw CachePatternProblem("has \(CacheKey.described(byte)), which no key has")
      }
      guard byte != UInt8(ascii: "["), byte != UInt8(ascii: "]"), byte != UInt8(ascii: "\\") else {
        throw CachePatternProblem(
          "has \(CacheKey.described(byte)); a pattern has '*' and '?', and no other wildcards")
      }
    }
    self.text = text
    // Runs of `*` are one: matching stays quick.
    var bytes: [UInt8] = []
    for byte in text.utf8 where byte != UInt8(ascii: "*") || bytes.last != byte {
      bytes.append(byte)
    }
    self.bytes = bytes
    let literal = bytes.prefix { $0 != UInt8(ascii: "*") && $0 != UInt8(ascii: "?") }
    prefix = String(decoding: literal, as: UTF8.self)
    isPrefix = literal.count == bytes.count - 1 && bytes.last == UInt8(ascii: "*")
  }

  /// Whether it has no literal character but colons, and so is meant to match every key, or all of
  /// some length.
  package var matchesAnyKey: Bool {
    bytes.allSatisfy {
      $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: ":")
    }
  }

  /// Whether a key matches. At most (bytes of the key × bytes of the pattern) steps.
  package func matches(_ key: String) -> Bool {
    if isPrefix { return key.startsWithBytes(of: prefix) }
    var key = key
    return key.withUTF8 { matches($0.span) }
  }

  /// The usual walk with one way back: a `*` that has taken too little takes one byte more.
  package func matches(_ key: Span<UInt8>) -> Bool {
    var (inKey, inPattern) = (0, 0)
    var back: (key: Int, pattern: Int)?
    while inKey < key.count {
      if inPattern < bytes.count, bytes[inPattern] == UInt8(ascii: "*") {
        back = (inKey, inPattern)
        inPattern += 1
      } else if inPattern < bytes.count,
        bytes[inPattern] == UInt8(ascii: "?") || bytes[inPattern] == key[inKey]
      {
        inKey += 1
        inPattern += 1
      } else if let (seen, star) = back {
        back = (seen + 1, star)
        inKey = seen + 1
        inPattern = star + 1
      } else {
        return false
      }
    }
    return bytes[inPattern...].allSatisfy { $0 == UInt8(ascii: "*") }
  }

  package static func == (one: Self, other: Self) -> Bool { one.bytes == other.bytes }
  package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }
}

/// What is wrong with a pattern, as the end of a sentence that begins with the field's name.
package struct CachePatternProblem: Error, Hashable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
