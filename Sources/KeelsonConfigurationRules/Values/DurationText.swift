/// Lengths of time as people write them: `250ms`, `1.5s`, `1h30m`, `2d`, or `[d.]hh:mm:ss[.fff]`
/// as .NET settings have them.
package enum DurationText {
  /// Units from the largest, and how many nanoseconds each has.
  private static let units: [(name: String, nanoseconds: Int64)] = [
    ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000),
    ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1),
  ]

  /// - Returns: nil when the text is no length of time, or one beyond 292 years.
  package static func duration(_ text: String) -> Duration? {
    var rest = Substring(text)
    let isNegative = rest.hasPrefix("-")
    if isNegative { rest.removeFirst() }
    guard let nanoseconds = rest.contains(":") ? clock(rest) : sum(rest) else { return nil }
    return .nanoseconds(isNegative ? -nanoseconds : nanoseconds)
  }

  /// `1h30m`: each unit at most once, from the largest.
  private static func sum(_ text: Substring) -> Int64? {
    if text == "0" { return 0 }
    var rest = text
    var total: Int64 = 0
    var next = 0
    repeat {
      let number = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      rest = rest.dropFirst(number.count)
      let name = rest.prefix { $0.isLetter }
      rest = rest.dropFirst(name.count)
      guard let unit = units[next...].firstIndex(where: { $0.name == name }),
        let part = scaled(number, by: units[unit].nanoseconds)
      else { return nil }
      let (sum, overflows) = total.addingReportingOverflow(part)
      guard !overflows else { return nil }
      total = sum
      next = unit + 1
    } while !rest.isEmpty
    return total
  }

  /// `1.02:30:00.5`: days, hours, minutes, seconds.
  private static func clock(_ text: Substring) -> Int64? {
    var parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3 else { return nil }
    var days: Substring = "0"
    let dayAndHour = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    if dayAndHour.count == 2 {
      days = dayAndHour[0]
      parts[0] = dayAndHour[1]
    }
    guard dayAndHour.count <= 2, let hours = Int(parts[0]), (0..<24).contains(hours),
      let minutes = Int(parts[1]), (0..<60).contains(minutes),
      parts[2].prefix(2).count == 2, let seconds = scaled(parts[2], by: 1_000_000_000),
      seconds < 60_000_000_000, let day = scaled(days, by: units[0].nanoseconds),
      !days.contains(".")
    else { return nil }
    let (sum, overflows) = day.addingReportingOverflow(
      Int64(hours * 60 + minutes) * 60_000_000_000 + seconds)
    return overflows ? nil : sum
  }

  /// Digits with at most one point, times a factor.
  private static func scaled(_ number: Substring, by factor: Int64) -> Int64? {
    let parts = number.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count),
      parts.allSatisfy({ part in
        !part.isEmpty && part.utf8.allSatisfy { (0x30...0x39).contains($0) }
      }), let whole = Int64(parts[0])
    else { return nil }
    let (product, overflows) = whole.multipliedReportingOverflow(by: factor)
    guard !overflows else { return nil }
    guard parts.count == 2 else { return product }
    var fraction: Int64 = 0
    var unit = factor
    for digit in parts[1].utf8 where unit % 10 == 0 || digit != 0x30 {
      // What is finer than a nanosecond cannot be said.
      guard unit % 10 == 0 || unit > 10 else { return nil }
      unit /= 10
      fraction += Int64(digit - 0x30) * unit
    }
    let (sum, overflow) = product.addingReportingOverflow(fraction)
    return overflow ? nil : sum
  }

  /// In the largest unit that it is a whole number of: `90s`, `250ms`, `2h`.
  package static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let fraction = attoseconds / 1_000_000_000
    guard seconds != 0 || fraction != 0 else { return "0s" }
    if fraction == 0 {
      let fitting = units.prefix(4).first { seconds % ($0.nanoseconds / 1_000_000_000) == 0 }
      guard let fitting else { return "\(seconds)s" }
      return "\(seconds / (fitting.nanoseconds / 1_000_000_000))\(fitting.name)"
    }
    let nanoseconds = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let total = nanoseconds.partialValue.addingReportingOverflow(fraction)
    guard !nanoseconds.overflow, !total.overflow else { return "\(seconds)s" }
    let fitting = units.suffix(3).first { total.partialValue % $0.nanoseconds == 0 } ?? units[6]
    return "\(total.partialValue / fitting.nanoseconds)\(fitting.name)"
  }
}
