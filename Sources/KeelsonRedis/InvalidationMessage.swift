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
    // By bytes: in text, what follows a space may belong to the same character.
    var words: [String] = []
    for word in bytes.split(separator: UInt8(ascii: " ")) {
      guard let text = String(validating: word, as: UTF8.self) else { return nil }
      words.append(text)
    }
    guard words.count >= 3, let epoch = UInt64(words[0]), let sequence = UInt64(words[1]) else {
      return nil
    }
    self.epoch = epoch
    self.sequence = sequence
    let names = Array(words[3...])
    switch words[2] {
    case "k": content = .invalidation(.keys(names))
    case "t": content = .invalidation(.tags(names))
    case "p":
      guard names.count == 1, let pattern = try? CachePattern(names[0]) else { return nil }
      content = .invalidation(.pattern(pattern))
    case "a": content = .invalidation(.all)
    case "f":
      guard names.count == 1 else { return nil }
      content = .leaseEnded(key: names[0])
    case "d":
      guard names.count == 1, let sequence = UInt64(names[0]) else { return nil }
      content = .bansDropped(upTo: sequence)
    case "e": content = .newEpoch
    default: return nil
    }
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
