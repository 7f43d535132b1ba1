/// A command as Redis reads it: an array of strings. Source: the protocol's specification, RESP 2.
package struct RedisCommand: Sendable {
  private(set) var bytes: [UInt8]

  /// A command of this many words, which are then appended.
  init(words: Int, bytes capacity: Int = 64) {
    bytes = []
    bytes.reserveCapacity(capacity + 16)
    header(UInt8(ascii: "*"), words)
  }

  package init(_ words: String...) {
    self.init(words: words.count)
    for word in words { append(word) }
  }

  mutating func append(_ word: String) {
    header(UInt8(ascii: "$"), word.utf8.count)
    bytes.append(contentsOf: word.utf8)
    end()
  }

  /// Two texts as one word.
  mutating func append(_ prefix: StaticString, _ word: String) {
    header(UInt8(ascii: "$"), prefix.utf8CodeUnitCount + word.utf8.count)
    prefix.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: word.utf8)
    end()
  }

  mutating func append(_ word: [UInt8]) {
    header(UInt8(ascii: "$"), word.count)
    bytes.append(contentsOf: word)
    end()
  }

  mutating func append(_ word: ArraySlice<UInt8>) {
    header(UInt8(ascii: "$"), word.count)
    bytes.append(contentsOf: word)
    end()
  }

  /// Several parts as one word, without putting them together first.
  mutating func append(bytes count: Int, _ write: (inout [UInt8]) -> Void) {
    header(UInt8(ascii: "$"), count)
    let start = bytes.count
    write(&bytes)
    assert(bytes.count == start + count, "the word is as long as was said")
    end()
  }

  mutating func append(_ number: some FixedWidthInteger) {
    append(String(number))
  }

  private mutating func end() {
    bytes.append(0x0D)
    bytes.append(0x0A)
  }

  private mutating func header(_ type: UInt8, _ count: Int) {
    bytes.append(type)
    if count < 10 {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: count))
    } else {
      bytes.append(contentsOf: String(count).utf8)
    }
    end()
  }
}
