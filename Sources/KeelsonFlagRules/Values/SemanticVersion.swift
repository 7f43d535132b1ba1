import KeelsonCore

/// A version as semver.org 2.0.0 has it, read leniently: `v` or `V` before it is dropped and
/// missing minor and patch numbers are 0. Build metadata is checked and then ignored.
struct SemanticVersion: Sendable {
  let major: UInt64
  let minor: UInt64
  let patch: UInt64
  /// Empty when there is none.
  let prerelease: Substring.UTF8View

  /// nil when the value is no version. A number is read as it is written: 1.2 is 1.2.0.
  init?(_ value: JSONValue) {
    switch value {
    case .string(let text): self.init(text)
    case .number(let number): self.init(NumberText.text(number))
    default: return nil
    }
  }

  init?(_ text: String) {
    if let (major, minor, patch) = SemanticVersion.plainNumbers(text) {
      (self.major, self.minor, self.patch) = (major, minor, patch)
      prerelease = "".utf8[...]
      return
    }
    var rest = text.utf8[...]
    if let first = rest.first, first | 0x20 == UInt8(ascii: "v") { rest.removeFirst() }
    guard let major = SemanticVersion.takeNumber(&rest) else { return nil }
    var numbers: (UInt64, UInt64) = (0, 0)
    if rest.first == UInt8(ascii: ".") {
      rest.removeFirst()
      guard let minor = SemanticVersion.takeNumber(&rest) else { return nil }
      numbers.0 = minor
      if rest.first == UInt8(ascii: ".") {
        rest.removeFirst()
        guard let patch = SemanticVersion.takeNumber(&rest) else { return nil }
        numbers.1 = patch
      }
    }
    self.major = major
    (minor, patch) = numbers

    if rest.first == UInt8(ascii: "-") {
      rest.removeFirst()
      prerelease = rest.prefix { $0 != UInt8(ascii: "+") }
      guard SemanticVersion.areIdentifiers(prerelease, allowingLeadingZeros: false) else {
        return nil
      }
      rest = rest[prerelease.endIndex...]
    } else {
      prerelease = rest.prefix(0)
    }
    if rest.first == UInt8(ascii: "+") {
      rest.removeFirst()
      guard SemanticVersion.areIdentifiers(rest, allowingLeadingZeros: true) else { return nil }
    } else if !rest.isEmpty {
      return nil
    }
  }

  /// The short way for the versions most apps have, `1.2.3` and nothing else; nil for all others.
  private static func plainNumbers(_ text: String) -> (UInt64, UInt64, UInt64)? {
    let numbers: (UInt64, UInt64, UInt64)?? = text.utf8.withContiguousStorageIfAvailable { bytes in
      // Short enough for none of the numbers to overflow.
      guard bytes.count < 20 else { return nil }
      var offset = 0
      func number() -> UInt64? {
        let start = offset
        var number: UInt64 = 0
        while offset < bytes.count, isDigit(bytes[offset]) {
          number = number * 10 + UInt64(bytes[offset] - 0x30)
          offset += 1
        }
        let isPlain = offset == start + 1 || (offset > start && bytes[start] != 0x30)
        return isPlain ? number : nil
      }
      func point() -> Bool {
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: ".") else { return false }
        offset += 1
        return true
      }
      guard let major = number(), point(), let minor = number(), point(), let patch = number(),
        offset == bytes.count
      else { return nil }
      return (major, minor, patch)
    }
    return numbers ?? nil
  }

  /// Precedence: semver.org 2.0.0, item 11.
  func ordering(to other: SemanticVersion) -> Ordering {
    if major != other.major { return major < other.major ? .less : .greater }
    if minor != other.minor { return minor < other.minor ? .less : .greater }
    if patch != other.patch { return patch < other.patch ? .less : .greater }
    switch (prerelease.isEmpty, other.prerelease.isEmpty) {
    case (true, true): return .same
    case (true, false): return .greater
    case (false, true): return .less
    case (false, false): break
    }
    var left = prerelease
    var right = other.prerelease
    while true {
      let mine = left.prefix { $0 != UInt8(ascii: ".") }
      let theirs = right.prefix { $0 != UInt8(ascii: ".") }
      let order = SemanticVersion.identifierOrdering(mine, theirs)
      if order != .same { return order }
      left = left[mine.endIndex...].dropFirst()
      right = right[theirs.endIndex...].dropFirst()
      switch (left.isEmpty, right.isEmpty) {
      case (true, true): return .same
      case (true, false): return .less
      case (false, true): return .greater
      case (false, false): continue
      }
    }
  }

  private static func identifierOrdering(
    _ left: Substring.UTF8View, _ right: Substring.UTF8View
  ) -> Ordering {
    switch (left.allSatisfy(isDigit), right.allSatisfy(isDigit)) {
    case (true, false): return .less
    case (false, true): return .greater
    case (true, true) where left.count != right.count:
      return left.count < right.count ? .less : .greater
    default:
      if left.lexicographicallyPrecedes(right) { return .less }
      return left.elementsEqual(right) ? .same : .greater
    }
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  /// Digits without a leading zero that fit 64 bits.
  private static func takeNumber(_ rest: inout Substring.UTF8View) -> UInt64? {
    let digits = rest.prefix(while: isDigit)
    if digits.isEmpty || (digits.first == 0x30 && digits.count > 1) { return nil }
    var number: UInt64 = 0
    for digit in digits {
      let (product, tooLarge) = number.multipliedReportingOverflow(by: 10)
      let (sum, stillTooLarge) = product.addingReportingOverflow(UInt64(digit - 0x30))
      if tooLarge || stillTooLarge { return nil }
      number = sum
    }
    rest = rest[digits.endIndex...]
    return number
  }

  private static func areIdentifiers(
    _ text: Substring.UTF8View, allowingLeadingZeros: Bool
  ) -> Bool {
    text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
      guard !part.isEmpty else { return false }
      let isNumeric = part.allSatisfy(isDigit)
      if !allowingLeadingZeros, isNumeric, part.count > 1, part.first == 0x30 { return false }
      return part.allSatisfy {
        isDigit($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == UInt8(ascii: "-")
      }
    }
  }
}
