import KeelsonCore

/// One limit of the server: what it is called, what it may be set to, and what happens beyond it.
package struct ServerLimit: Sendable {
  typealias Path<Value> = any WritableKeyPath<ServerLimits, Value> & Sendable

  /// Where the value stands, and so what its unit is.
  enum Place: Sendable {
    case count(Path<Int>)
    /// Bytes.
    case size(Path<Int>)
    case duration(Path<Duration>)
    /// A time that may be `off`.
    case optionalDuration(Path<Duration?>)
  }

  /// In lower case, with hyphens.
  package let name: String
  /// What it limits, a few words.
  package let what: String
  /// What happens beyond it, a few words.
  package let beyond: String
  let place: Place
  /// What may be set: counts, bytes or milliseconds.
  let range: ClosedRange<Int>

  /// The value without settings, in the form that ``read(_:)`` takes.
  package var defaultText: String { text(in: ServerLimits()) }

  /// What may be set, for people: `1 to 1000000` for example.
  package var rangeText: String {
    let range = "\(text(of: self.range.lowerBound)) to \(text(of: self.range.upperBound))"
    if case .optionalDuration = place { return range + ", or off" }
    return range
  }

  /// The value that these limits have.
  package func text(in limits: ServerLimits) -> String {
    switch place {
    case .count(let path), .size(let path): text(of: limits[keyPath: path])
    case .duration(let path): text(of: Self.milliseconds(limits[keyPath: path]))
    case .optionalDuration(let path):
      limits[keyPath: path].map { text(of: Self.milliseconds($0)) } ?? "off"
    }
  }

  /// Gives the limits the value that the text says.
  ///
  /// - Throws: INVALID_ARGUMENT that says what would be right.
  func set(_ text: String, in limits: inout ServerLimits) throws(RPCError) {
    if case .optionalDuration(let path) = place, text == "off" {
      limits[keyPath: path] = nil
      return
    }
    guard let number = read(text), range.contains(number) else {
      throw RPCError(
        .invalidArgument,
        "The limit '\(name)' takes \(unitText), from \(rangeText); '\(text)' is not.")
    }
    switch place {
    case .count(let path), .size(let path): limits[keyPath: path] = number
    case .duration(let path): limits[keyPath: path] = .milliseconds(number)
    case .optionalDuration(let path): limits[keyPath: path] = .milliseconds(number)
    }
  }

  private var unitText: String {
    switch place {
    case .count: "a whole number"
    case .size: "a size such as 500, 16KiB or 4MiB"
    case .duration, .optionalDuration: "a time such as 500ms, 10s, 5m or 2h"
    }
  }

  // MARK: Units

  /// Units from the largest, and how many of the smallest each has.
  private var units: [(name: String, size: Int)] {
    switch place {
    case .count: [("", 1)]
    case .size: [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)]
    case .duration, .optionalDuration:
      [("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)]
    }
  }

  private func read(_ text: String) -> Int? {
    for unit in units where text.hasSuffix(unit.name) {
      let digits = text.dropLast(unit.name.count)
      guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }),
        let number = Int(digits)
      else { continue }
      let (value, overflows) = number.multipliedReportingOverflow(by: unit.size)
      return overflows ? nil : value
    }
    return nil
  }

  /// In the largest unit that it is a whole number of.
  private func text(of number: Int) -> String {
    let fitting = units.filter { number % $0.size == 0 }.max { $0.size < $1.size }
    guard number != 0, let fitting else { return "0\(units.last?.name ?? "")" }
    return "\(number / fitting.size)\(fitting.name)"
  }

  private static func milliseconds(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    return Int(seconds) * 1_000 + Int(attoseconds / 1_000_000_000_000_000)
  }
}
