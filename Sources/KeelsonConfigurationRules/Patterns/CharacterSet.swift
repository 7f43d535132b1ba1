/// The characters that one place of a pattern takes.
struct CharacterSet: Sendable, Hashable {
  var ranges: [ClosedRange<UInt32>]
  var isNegated: Bool

  init(_ ranges: [ClosedRange<UInt32>], isNegated: Bool = false) {
    self.ranges = ranges
    self.isNegated = isNegated
  }

  init(_ scalar: Unicode.Scalar) {
    self.init([scalar.value...scalar.value])
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    ranges.contains { $0.contains(scalar.value) } != isNegated
  }

  /// All but the line feed.
  static let any = CharacterSet([0x0A...0x0A], isNegated: true)
  static let digits = CharacterSet([0x30...0x39])
  static let words = CharacterSet([0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A])
  static let blanks = CharacterSet([0x09...0x0D, 0x20...0x20])

  /// All that is not in the set, as ranges.
  var inverted: CharacterSet { CharacterSet(ranges, isNegated: !isNegated) }

  /// The same set as ranges that are not negated.
  var plainRanges: [ClosedRange<UInt32>] {
    guard isNegated else { return ranges }
    var plain: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if range.lowerBound > next { plain.append(next...range.lowerBound - 1) }
      next = max(next, range.upperBound + 1)
    }
    if next <= 0x10FFFF { plain.append(next...0x10FFFF) }
    return plain
  }
}
