/// The characters that one place of a pattern takes.
struct CharacterSet: Sendable, Hashable {
  /// In order, apart from one another.
  let ranges: [ClosedRange<UInt32>]
  let isNegated: Bool
  /// Which of the first 128 characters are in, negation counted in.
  private let low: UInt64
  private let high: UInt64

  init(_ given: [ClosedRange<UInt32>], isNegated: Bool = false) {
    var merged: [ClosedRange<UInt32>] = []
    for range in given.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = merged.last, range.lowerBound <= last.upperBound + 1 {
        merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    ranges = merged
    self.isNegated = isNegated
    var halves: [UInt64] = [0, 0]
    for value in UInt32(0)..<128 where merged.contains(where: { $0.contains(value) }) != isNegated {
      halves[Int(value / 64)] |= 1 << UInt64(value % 64)
    }
    (low, high) = (halves[0], halves[1])
  }

  init(_ scalar: Unicode.Scalar) {
    self.init([scalar.value...scalar.value])
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    if value < 128 {
      return (value < 64 ? low : high) >> UInt64(value % 64) & 1 == 1
    }
    var (from, to) = (0, ranges.count)
    while from < to {
      let middle = (from + to) / 2
      if ranges[middle].upperBound < value { from = middle + 1 } else { to = middle }
    }
    return (from < ranges.count && ranges[from].contains(value)) != isNegated
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
