import KeelsonCacheRules

/// Bans of patterns that are a beginning and one `*`. A key finds those that concern it in one walk along
/// its bytes, however many there are. A value without I/O.
struct PrefixBans: Sendable {
  private struct Element {
    var prefix: [UInt8]
    var sequence: UInt64
  }

  /// In the order of their bytes, so that those that begin alike stand together, the shortest first.
  private let elements: [Element]

  init(_ bans: some Sequence<InvalidationView.Ban>) {
    elements = bans.map { Element(prefix: Array($0.pattern.prefix.utf8), sequence: $0.sequence) }
      .sorted { $0.prefix.lexicographicallyPrecedes($1.prefix) }
  }

  /// The sequence of the newest that a key matches; nil when there is none.
  func newest(for key: String) -> UInt64? {
    newest(for: key.utf8.span)
  }

  private func newest(for key: Span<UInt8>) -> UInt64? {
    var newest: UInt64?
    // Those that begin with the key's first bytes, and how many these are.
    var (start, end, depth) = (0, elements.count, 0)
    while start < end {
      if elements[start].prefix.count == depth {
        newest = max(newest ?? 0, elements[start].sequence)
        start += 1
        continue
      }
      guard depth < key.count else { break }
      let byte = key[depth]
      if elements[start].prefix[depth] != byte || elements[end - 1].prefix[depth] != byte {
        start = firstIndex(in: start..<end) { $0.prefix[depth] >= byte }
        end = firstIndex(in: start..<end) { $0.prefix[depth] > byte }
      }
      depth += 1
    }
    return newest
  }

  /// Where something begins to be true.
  private func firstIndex(in range: Range<Int>, where isTrue: (Element) -> Bool) -> Int {
    var (low, high) = (range.lowerBound, range.upperBound)
    while low < high {
      let middle = (low + high) / 2
      if isTrue(elements[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
