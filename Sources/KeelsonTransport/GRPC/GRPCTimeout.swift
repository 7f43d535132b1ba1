/// The value of the `grpc-timeout` header: at most eight digits and a unit.
/// Source: grpc/grpc `doc/PROTOCOL-HTTP2.md`, "Timeout".
package enum GRPCTimeout {
  private static let maximumDigits = 8
  private static let maximumValue: Int64 = 99_999_999

  /// Reads a header's value; nil when it is malformed.
  package static func parse(_ text: Span<UInt8>) -> Duration? {
    guard (2...maximumDigits + 1).contains(text.count) else { return nil }
    var value: Int64 = 0
    for index in 0..<text.count - 1 {
      let digit = text[index] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      value = value * 10 + Int64(digit)
    }
    return switch text[text.count - 1] {
    case UInt8(ascii: "H"): .seconds(value * 3600)
    case UInt8(ascii: "M"): .seconds(value * 60)
    case UInt8(ascii: "S"): .seconds(value)
    case UInt8(ascii: "m"): .milliseconds(value)
    case UInt8(ascii: "u"): .microseconds(value)
    case UInt8(ascii: "n"): .nanoseconds(value)
    default: nil
    }
  }

  /// Writes a header's value in the finest unit that fits, rounded up: the server must not give
  /// up before the client does. A time that has passed becomes the shortest one.
  package static func format(_ timeout: Duration) -> String {
    let (seconds, attoseconds) = timeout.components
    guard timeout > .zero else { return "1n" }
    // Eight digits of milliseconds reach beyond a day; past that, whole seconds do.
    if seconds < 1_000_000 {
      let nanoseconds = seconds * 1_000_000_000 + (attoseconds + 999_999_999) / 1_000_000_000
      if nanoseconds <= maximumValue { return "\(nanoseconds)n" }
      let microseconds = (nanoseconds + 999) / 1000
      if microseconds <= maximumValue { return "\(microseconds)u" }
      let milliseconds = (microseconds + 999) / 1000
      if milliseconds <= maximumValue { return "\(milliseconds)m" }
    }
    let wholeSeconds = attoseconds > 0 && seconds < .max ? seconds + 1 : seconds
    if wholeSeconds <= maximumValue { return "\(wholeSeconds)S" }
    let minutes = (wholeSeconds - 1) / 60 + 1
    if minutes <= maximumValue { return "\(minutes)M" }
    return "\(min((minutes - 1) / 60 + 1, maximumValue))H"
  }
}
