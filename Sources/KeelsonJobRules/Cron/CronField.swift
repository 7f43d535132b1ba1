/// A field of a cron expression.
package enum CronField: Int, Sendable, Hashable, CaseIterable {
  case second, minute, hour, dayOfMonth, month, dayOfWeek

  package var name: String {
    switch self {
    case .second: "second"
    case .minute: "minute"
    case .hour: "hour"
    case .dayOfMonth: "day of month"
    case .month: "month"
    case .dayOfWeek: "day of week"
    }
  }

  /// The numbers it may have. Sunday is 0 and 7.
  package var range: ClosedRange<Int> {
    switch self {
    case .second, .minute: 0...59
    case .hour: 0...23
    case .dayOfMonth: 1...31
    case .month: 1...12
    case .dayOfWeek: 0...7
    }
  }

  /// The names that stand for numbers, beginning with the lowest number.
  private var names: [String] {
    switch self {
    case .month:
      ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
    case .dayOfWeek: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
    default: []
    }
  }

  /// The numbers that a text allows, as bits: `*`, a number or a name, `a-b`, any of them with
  /// `/step`, and lists of those. `a/step` goes on to the highest number.
  ///
  /// - Throws: ``CronError/Problem`` that names this field.
  func numbers(of text: Substring) throws(CronError.Problem) -> UInt64 {
    var numbers: UInt64 = 0
    for term in text.split(separator: ",", omittingEmptySubsequences: false) {
      numbers |= try self.numbers(ofTerm: term)
    }
    return numbers
  }

  private func numbers(ofTerm term: Substring) throws(CronError.Problem) -> UInt64 {
    let parts = term.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    var step = 1
    if parts.count == 2 {
      guard let number = Self.number(parts[1]), number > 0 else {
        throw problem("a step is a number from 1, and not '\(parts[1])'")
      }
      step = number
    }
    let bounds = try bounds(of: parts[0], isStepped: parts.count == 2)
    return stride(from: bounds.lowerBound, through: bounds.upperBound, by: step)
      .reduce(0) { $0 | 1 << $1 }
  }

  private func bounds(
    of text: Substring, isStepped: Bool
  ) throws(CronError.Problem) -> ClosedRange<Int> {
    if text == "*" { return self == .dayOfWeek ? 0...6 : range }
    let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    let first = try value(ends[0])
    guard ends.count == 2 else { return first...(isStepped ? range.upperBound : first) }
    let last = try value(ends[1])
    guard first < last || (first == last && !isStepped) else {
      // cron takes the one number, other programs all from it on.
      guard first > last else {
        throw problem("'\(text)' is one number; write '\(ends[0])', or '\(ends[0])/step' to go on")
      }
      throw problem(
        "the range '\(text)' runs backwards; write it as two, joined by a comma")
    }
    return first...last
  }

  private func value(_ text: Substring) throws(CronError.Problem) -> Int {
    if let index = names.firstIndex(of: text.uppercased()) {
      return index + (self == .month ? 1 : 0)
    }
    guard !text.isEmpty else { throw problem("a number is missing") }
    guard let number = Self.number(text) else {
      throw problem(
        names.isEmpty
          ? "'\(text)' is not a number"
          : "'\(text)' is neither a number nor a name such as \(names[0])")
    }
    guard range.contains(number) else {
      throw problem("\(number) is not from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// Digits only, three at the most: no sign, as Int would take it.
  private static func number(_ text: Substring) -> Int? {
    guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) })
    else { return nil }
    return Int(text)
  }

  private func problem(_ reason: String) -> CronError.Problem {
    CronError.Problem(field: self, reason: reason)
  }
}
