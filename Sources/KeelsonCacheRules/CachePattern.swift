import KeelsonCore

/// A pattern for keys: `*` stands for any run of characters, none among them, `?` for one byte.
/// Colons are characters like others: `acme:accounting:*` matches all that begins so.
package struct CachePattern: Sendable, Hashable {
  package let text: String
  /// What every key that matches begins with.
  package let prefix: String
  /// Whether it is ``prefix`` and one `*`: then a look at the key's beginning is enough.
  package let isPrefix: Bool
  private let bytes: [UInt8]
  /// Where its last `*` is.
  private let lastStar: Int?

  /// What any match takes, in steps: about 70 ns, as long as it takes to look at so many bytes.
  package static let stepsOfMatch = 64

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
    lastStar = bytes.lastIndex(of: UInt8(ascii: "*"))
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

  /// Whether a key matches.
  package func matches(_ key: String) -> Bool {
    var steps = 0
    return matches(key, steps: &steps)
  }

  /// The same, and adds what it took: ``stepsOfMatch`` and the bytes that were looked at. These are at
  /// most (bytes of the key × bytes of the pattern), and no more than those of the pattern if it has
  /// one `*` only.
  package func matches(_ key: String, steps: inout Int) -> Bool {
    steps += Self.stepsOfMatch
    if isPrefix { return key.startsWithBytes(of: prefix) }
    var key = key
    return key.withUTF8 { matches($0.span, &steps) }
  }

  private func matches(_ key: Span<UInt8>, _ steps: inout Int) -> Bool {
    guard let lastStar else {
      return key.count == bytes.count && ends(key, with: 0, &steps)
    }
    let end = key.count - (bytes.count - lastStar - 1)
    // What is behind the last `*` has one place only: most keys end otherwise.
    guard end >= 0, ends(key, with: lastStar + 1, &steps) else { return false }
    // The usual walk with one way back: a `*` that has taken too little takes one byte more.
    var (inKey, inPattern) = (0, 0)
    var back: (key: Int, pattern: Int)?
    while inPattern < lastStar, inKey < end {
      steps += 1
      if bytes[inPattern] == UInt8(ascii: "*") {
        back = (inKey, inPattern)
        inPattern += 1
      } else if bytes[inPattern] == UInt8(ascii: "?") || bytes[inPattern] == key[inKey] {
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
    return inPattern == lastStar
  }

  /// Whether a key, which is long enough, ends with what is in the pattern from a place on.
  private func ends(_ key: Span<UInt8>, with start: Int, _ steps: inout Int) -> Bool {
    let skipped = key.count - bytes.count
    for index in start..<bytes.count {
      steps += 1
      guard bytes[index] == UInt8(ascii: "?") || bytes[index] == key[skipped + index] else {
        return false
      }
    }
    return true
  }

  package static func == (one: Self, other: Self) -> Bool { one.bytes == other.bytes }
  package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }
}

/// What is wrong with a pattern, as the end of a sentence that begins with the field's name.
package struct CachePatternProblem: Error, Hashable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
