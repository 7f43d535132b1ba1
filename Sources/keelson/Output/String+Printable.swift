extension String {
  /// The text as a terminal may show it: what others have written cannot move the cursor, break a
  /// row or turn the writing round.
  ///
  /// Controls (C0, DEL and C1), the separators of lines and paragraphs, and what sets the direction
  /// of writing become `\n`, `\t`, `\r` or `\u{1B}`.
  ///
  /// - Parameter keepsLines: whether the end of a line stays one.
  func printable(keepsLines: Bool = false) -> String {
    guard unicodeScalars.contains(where: \.isUnprintable) else { return self }
    var text = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "\n": text += keepsLines ? "\n" : "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.isUnprintable:
        text += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}

extension Unicode.Scalar {
  fileprivate var isUnprintable: Bool {
    switch value {
    case 0..<0x20, 0x7F..<0xA0, 0x061C, 0x200B, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069:
      true
    default: false
    }
  }
}
