/// A piece of what others have written that fits into a result, which has a limit: cut so that it
/// takes no more than so many bytes as a string of JSON. Bytes that are no UTF-8 are replaced.
struct Excerpt: Sendable, Hashable {
  let text: String
  /// Whether nothing was cut off.
  let isWhole: Bool

  static func beginning(of bytes: [UInt8], jsonBytes limit: Int) -> Excerpt {
    let text = String(decoding: bytes.prefix(limit), as: UTF8.self)
    var room = limit
    var kept = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      room -= cost(scalar)
      guard room >= 0 else { break }
      kept.append(scalar)
    }
    return Excerpt(text: String(kept), isWhole: bytes.count <= limit && room >= 0)
  }

  static func end(of bytes: [UInt8], jsonBytes limit: Int) -> Excerpt {
    let scalars = String(decoding: bytes.suffix(limit), as: UTF8.self).unicodeScalars
    var room = limit
    var start = scalars.endIndex
    while start > scalars.startIndex {
      let before = scalars.index(before: start)
      room -= cost(scalars[before])
      guard room >= 0 else { break }
      start = before
    }
    return Excerpt(
      text: String(scalars[start...]), isWhole: bytes.count <= limit && room >= 0)
  }

  /// Bytes that a character takes in a string of JSON (RFC 8259 section 7), or more.
  private static func cost(_ scalar: Unicode.Scalar) -> Int {
    switch scalar {
    case "\"", "\\": 2
    case _ where scalar.value < 0x20: 6
    default: UTF8.width(scalar)
    }
  }
}
