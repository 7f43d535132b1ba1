/// Numbers of bytes as people write them: `500`, `64KiB`, `4MiB`, `1GiB`, `2TiB`; also `KB`, `MB`,
/// `GB`, `TB` of 1,000.
package enum SizeText {
  private static let units: [(name: String, bytes: Int64)] = [
    ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1),
    ("", 1),
  ]

  /// - Returns: nil when the text is no size, or one beyond 8 EiB.
  package static func bytes(_ text: String) -> Int64? {
    for unit in units where text.hasSuffix(unit.name) {
      let digits = text.dropLast(unit.name.count)
      guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let number = Int64(digits)
      else { return nil }
      let (product, overflows) = number.multipliedReportingOverflow(by: unit.bytes)
      return overflows ? nil : product
    }
    return nil
  }

  /// In the largest unit of 1,024 that it is a whole number of.
  package static func text(_ bytes: Int64) -> String {
    guard bytes != 0, let unit = units.prefix(4).first(where: { bytes % $0.bytes == 0 }) else {
      return String(bytes)
    }
    return "\(bytes / unit.bytes)\(unit.name)"
  }
}
