/// How often a key was asked for of late, in a few bits a key: a count-min sketch of 4-bit counters that
/// are halved from time to time (Einziger, Friedman, Manes, "TinyLFU", 2017). It errs upwards only.
///
/// A key's four counters lie in one block of 64 bytes, so that a look costs one line of the processor's
/// cache.
package struct FrequencySketch {
  /// What a counter can hold.
  package static let maximum = 15
  /// Counts are halved when there were so many for each word.
  private static let countsPerWord = 10
  private static let blockWords = 8
  private static let ones: UInt64 = 0x1111_1111_1111_1111

  private var words = [UInt64](repeating: 0, count: blockWords)
  private var blockMask: UInt64 = 0
  /// Counts since they were halved; those that were made before count half.
  private var counted = 0

  package init() {}

  var bytes: Int { HeapBytes.array(words) }

  /// Makes it large enough for so many entries: 8 to 16 bytes each. What it knows stays: the blocks a
  /// key may have in the larger one begin as copies of the one that it had.
  package mutating func extend(toEntries entries: Int) {
    while words.count < entries {
      words.reserveCapacity(words.count * 2)
      words.append(contentsOf: words)
    }
    blockMask = UInt64(words.count / Self.blockWords - 1)
  }

  /// Where the counters of a key are: the block by the lower bits, the counters by the upper.
  private static func mixed(_ hash: UInt32) -> UInt64 {
    var bits = UInt64(hash) &* 0x9E37_79B9_7F4A_7C15
    bits = (bits ^ bits >> 32) &* 0xD6E8_FEB8_6659_FD93
    return bits ^ bits >> 29
  }

  /// The word of the row's two, and how far to shift for the counter in it.
  private func place(_ bits: UInt64, row: Int) -> (word: Int, shift: UInt64) {
    let choice = bits >> UInt64(40 + row * 5) & 31
    let block = Int(bits & blockMask) * Self.blockWords
    return (block + row * 2 + Int(choice & 1), (choice >> 1) * 4)
  }

  package func frequency(_ hash: UInt32) -> Int {
    let bits = Self.mixed(hash)
    var lowest = UInt64(Self.maximum)
    for row in 0..<4 {
      let (word, shift) = place(bits, row: row)
      lowest = min(lowest, words[word] >> shift & 15)
    }
    return Int(lowest)
  }

  package mutating func increment(_ hash: UInt32) {
    let bits = Self.mixed(hash)
    var isCounted = false
    for row in 0..<4 {
      let (word, shift) = place(bits, row: row)
      guard words[word] >> shift & 15 < UInt64(Self.maximum) else { continue }
      words[word] += 1 << shift
      isCounted = true
    }
    guard isCounted else { return }
    counted += 1
    if counted >= words.count * Self.countsPerWord { halve() }
  }

  private mutating func halve() {
    for index in words.indices { words[index] = words[index] >> 1 & ~(Self.ones << 3) }
    counted /= 2
  }
}
