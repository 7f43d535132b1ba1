import KeelsonCore

/// Statuses of HTTP: `200`, `"2xx"`, `"200-204"`, or a list of these.
struct StatusSet: Sendable, Hashable, CustomStringConvertible {
  private let ranges: [ClosedRange<Int>]

  init(_ ranges: ClosedRange<Int>...) {
    self.ranges = ranges
  }

  /// nil for what is none.
  init?(_ value: JSONValue) {
    let values: [JSONValue]
    if case .array(let list) = value { values = list } else { values = [value] }
    var ranges: [ClosedRange<Int>] = []
    for value in values {
      guard let range = Self.range(value) else { return nil }
      ranges.append(range)
    }
    guard !ranges.isEmpty else { return nil }
    self.ranges = ranges
  }

  private static func range(_ value: JSONValue) -> ClosedRange<Int>? {
    switch value {
    case .number(let number):
      guard let status = Int(exactly: number), (100...599).contains(status) else { return nil }
      return status...status
    case .string(let text):
      if text.utf8.count == 3, text.lowercased().hasSuffix("xx") {
        guard let hundred = text.first?.wholeNumberValue, (1...5).contains(hundred) else {
          return nil
        }
        return hundred * 100...hundred * 100 + 99
      }
      let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
      guard let first = status(ends[0]), let last = ends.count == 1 ? first : status(ends[1]),
        first <= last
      else { return nil }
      return first...last
    default: return nil
    }
  }

  private static func status(_ text: Substring) -> Int? {
    guard text.utf8.count == 3, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let status = Int(text), (100...599).contains(status)
    else { return nil }
    return status
  }

  func contains(_ status: Int) -> Bool { ranges.contains { $0.contains(status) } }

  var description: String {
    ranges.map { range in
      if range.count == 1 { return "\(range.lowerBound)" }
      if range.lowerBound % 100 == 0, range.count == 100 { return "\(range.lowerBound / 100)xx" }
      return "\(range.lowerBound)-\(range.upperBound)"
    }.joined(separator: ", ")
  }
}
