import KeelsonCacheRules

/// What servers tell one another by Redis: `epoch sequence kind words`, parted by spaces, which neither
/// keys nor tags nor patterns have.
struct InvalidationMessage {
  enum Content {
    case invalidation(Invalidation.Scope)
    /// A lease of this key has ended, with a value or without. Has no sequence.
    case leaseEnded(key: String)
    /// Nothing is left that bans up to this sequence void. Has no sequence of its own.
    case bansDropped(upTo: UInt64)
    /// A new epoch has begun.
    case newEpoch
  }

  var epoch: UInt64
  var sequence: UInt64
  var content: Content

  /// nil for what is no message of ours.
  init?(_ bytes: [UInt8]) {
    var rest = bytes[...]
    guard let epoch = Self.number(&rest), let sequence = Self.number(&rest),
      let kind = rest.popFirst()
    else { return nil }
    self.epoch = epoch
    self.sequence = sequence
    guard rest.isEmpty || rest.popFirst() == Self.space, let words = Self.words(rest) else {
      return nil
    }
    switch kind {
    case UInt8(ascii: "k"): content = .invalidation(.keys(words))
    case UInt8(ascii: "t"): content = .invalidation(.tags(words))
    case UInt8(ascii: "p"):
      guard words.count == 1, let pattern = try? CachePattern(words[0]) else { return nil }
      content = .invalidation(.pattern(pattern))
    case UInt8(ascii: "a"): content = .invalidation(.all)
    case UInt8(ascii: "f"):
      guard words.count == 1 else { return nil }
      content = .leaseEnded(key: words[0])
    case UInt8(ascii: "d"):
      guard words.count == 1, let sequence = UInt64(words[0]) else { return nil }
      content = .bansDropped(upTo: sequence)
    case UInt8(ascii: "e"): content = .newEpoch
    default: return nil
    }
  }

  private static let space = UInt8(ascii: " ")

  /// Takes a number and the space behind it; nil when there is none.
  private static func number(_ rest: inout ArraySlice<UInt8>) -> UInt64? {
    var number: UInt64 = 0
    var digits = 0
    while let byte = rest.popFirst() {
      if byte == space { return digits > 0 ? number : nil }
      guard (0x30...0x39).contains(byte) else { return nil }
      let (scaled, overflows) = number.multipliedReportingOverflow(by: 10)
      let (sum, isBeyond) = scaled.addingReportingOverflow(UInt64(byte - 0x30))
      guard !overflows, !isBeyond else { return nil }
      number = sum
      digits += 1
    }
    return nil
  }

  /// The words, which are in UTF-8; nil when they are not.
  private static func words(_ rest: ArraySlice<UInt8>) -> [String]? {
    var words: [String] = []
    for word in rest.split(separator: space) {
      guard let text = String(validating: word, as: UTF8.self) else { return nil }
      words.append(text)
    }
    return words
  }

  /// The kind and the words of a message about a scope, for a script to put the rest in front.
  static func body(_ scope: Invalidation.Scope) -> [UInt8] {
    switch scope {
    case .keys(let keys): body("k", keys)
    case .tags(let tags): body("t", tags)
    case .pattern(let pattern): body("p", [pattern.text])
    case .all: body("a", [])
    }
  }

  private static func body(_ kind: Character, _ words: [String]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(1 + words.reduce(0) { $0 + 1 + $1.utf8.count })
    bytes.append(contentsOf: kind.utf8)
    for word in words {
      bytes.append(UInt8(ascii: " "))
      bytes.append(contentsOf: word.utf8)
    }
    return bytes
  }
}
