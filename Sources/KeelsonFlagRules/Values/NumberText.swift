/// Numbers from and to text as ECMAScript has them (ECMA-262, sections 7.1.4.1 and 6.1.6.1.20),
/// which JsonLogic rules count on.
enum NumberText {
  /// The number a text is as a whole, blanks around it apart; "" is 0; NaN when it is none.
  static func whole(_ text: String) -> Double {
    let trimmed = trimmed(text.utf8)
    if trimmed.isEmpty { return 0 }
    if let radix = radix(trimmed) {
      let digits = trimmed.dropFirst(2)
      guard !digits.isEmpty else { return .nan }
      var value = 0.0
      for byte in digits {
        guard let digit = Character(UnicodeScalar(byte)).hexDigitValue, digit < radix else {
          return .nan
        }
        value = value * Double(radix) + Double(digit)
      }
      return value
    }
    let length = lengthOfNumber(trimmed)
    return length == trimmed.count ? number(trimmed) : .nan
  }

  /// The number a text begins with, blanks before it apart; NaN when it begins with none.
  static func leading(_ text: String) -> Double {
    let trimmed = trimmed(text.utf8)
    let length = lengthOfNumber(trimmed)
    return length == 0 ? .nan : number(trimmed.prefix(length))
  }

  /// The shortest text that reads back as the number: `1`, `0.5`, `1e+21`.
  static func text(_ number: Double) -> String {
    if let whole = Int64(exactly: number), whole.magnitude < 1 << 53 { return String(whole) }
    if number.isNaN { return "NaN" }
    let sign = number < 0 ? "-" : ""
    if number.isInfinite { return sign + "Infinity" }

    // Swift prints the same digits with another layout: take the digits and the point from it.
    let parts = number.magnitude.description.split(separator: "e")
    let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    var digits = Array(mantissa.joined())
    var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
    while digits.first == "0" {
      digits.removeFirst()
      point -= 1
    }
    while digits.last == "0" { digits.removeLast() }

    let count = digits.count
    let zeros = { (count: Int) in String(repeating: "0", count: count) }
    if count <= point, point <= 21 { return sign + String(digits) + zeros(point - count) }
    if 0 < point, point <= 21 {
      return sign + String(digits[..<point]) + "." + String(digits[point...])
    }
    if -6 < point, point <= 0 { return sign + "0." + zeros(-point) + String(digits) }
    let exponent = point - 1
    let fraction = count > 1 ? "." + String(digits[1...]) : ""
    return sign + String(digits[0]) + fraction + "e" + (exponent < 0 ? "-" : "+")
      + String(exponent.magnitude)
  }

  private static func trimmed(_ text: String.UTF8View) -> Substring.UTF8View {
    func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    var rest = text[...]
    while let first = rest.first, isBlank(first) { rest.removeFirst() }
    while let last = rest.last, isBlank(last) { rest.removeLast() }
    return rest
  }

  private static func radix(_ text: Substring.UTF8View) -> Int? {
    guard text.first == UInt8(ascii: "0"), let mark = text.dropFirst().first else { return nil }
    switch mark | 0x20 {
    case UInt8(ascii: "x"): return 16
    case UInt8(ascii: "o"): return 8
    case UInt8(ascii: "b"): return 2
    default: return nil
    }
  }

  /// How many bytes at the start of `text` spell a decimal number or Infinity.
  private static func lengthOfNumber(_ text: Substring.UTF8View) -> Int {
    var rest = text
    func length() -> Int { text.count - rest.count }
    func takeDigits() -> Bool {
      let before = rest.count
      while let byte = rest.first, (0x30...0x39).contains(byte) { rest.removeFirst() }
      return rest.count < before
    }
    func take(_ bytes: UInt8...) -> Bool {
      guard let first = rest.first, bytes.contains(first) else { return false }
      rest.removeFirst()
      return true
    }
    _ = take(UInt8(ascii: "+"), UInt8(ascii: "-"))
    if rest.starts(with: "Infinity".utf8) { return length() + 8 }
    let hasWhole = takeDigits()
    if take(UInt8(ascii: ".")) {
      let hasFraction = takeDigits()
      if !hasWhole && !hasFraction { return 0 }
    } else if !hasWhole {
      return 0
    }
    let beforeExponent = rest
    if take(UInt8(ascii: "e"), UInt8(ascii: "E")) {
      _ = take(UInt8(ascii: "+"), UInt8(ascii: "-"))
      if !takeDigits() { rest = beforeExponent }
    }
    return length()
  }

  private static func number(_ text: Substring.UTF8View) -> Double {
    if text.last == UInt8(ascii: "y") {
      return text.first == UInt8(ascii: "-") ? -Double.infinity : .infinity
    }
    return Double(Substring(text)) ?? .nan
  }
}
