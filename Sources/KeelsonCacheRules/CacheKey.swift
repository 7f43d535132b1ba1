/// What keys and tags may look like. Source: SYS-111 AC2, `{tenant}:{module}:{entity}:{id}`.
package enum CacheKey {
  /// Bytes of a key at most.
  package static let maximumBytes = 512
  /// Bytes of the tenant's, the module's and the entity's name, each, at most.
  package static let maximumPartBytes = 64
  /// Bytes of a tag at most.
  package static let maximumTagBytes = 128

  /// What is wrong with a key, as the end of a sentence that begins with the field's name; nil for a
  /// good one.
  package static func problem(_ key: String) -> String? {
    guard !key.isEmpty else { return "is empty; \(form)" }
    let bytes = key.utf8
    guard bytes.count <= maximumBytes else {
      return "has \(bytes.count) bytes; \(maximumBytes) are allowed"
    }
    var parts = 0
    var partBytes = 0
    for byte in bytes {
      if parts == 3 {
        guard isPrintable(byte), !isSpecial(byte) else {
          return "has \(described(byte)) in its id; \(form)"
        }
        partBytes += 1
      } else if byte == UInt8(ascii: ":") {
        guard partBytes > 0 else { return "has an empty part; \(form)" }
        parts += 1
        partBytes = 0
      } else {
        guard isNameByte(byte) else {
          return "has \(described(byte)) in part \(parts + 1); \(form)"
        }
        partBytes += 1
        guard partBytes <= maximumPartBytes else {
          return "has a part of more than \(maximumPartBytes) bytes; \(form)"
        }
      }
    }
    guard parts == 3, partBytes > 0 else {
      return "has \(parts + (partBytes > 0 ? 1 : 0)) of the four parts; \(form)"
    }
    return nil
  }

  /// The same for a tag.
  package static func tagProblem(_ tag: String) -> String? {
    guard (1...maximumTagBytes).contains(tag.utf8.count) else {
      return "has \(tag.utf8.count) bytes; 1 to \(maximumTagBytes) are allowed"
    }
    guard let byte = tag.utf8.first(where: { !isPrintable($0) }) else { return nil }
    return "has \(described(byte)); a tag is of printable characters other than space"
  }

  private static let form =
    "a key is '{tenant}:{module}:{entity}:{id}', the first three of letters, digits, '.', '_' and "
    + "'-', the id of printable characters other than space, '*', '?', '[', ']' and '\\'"

  static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      return true
    default: return false
    }
  }

  /// Neither a control character nor a space; any byte of a character beyond ASCII is.
  static func isPrintable(_ byte: UInt8) -> Bool { byte > 0x20 && byte != 0x7F }

  /// Means something in patterns, ours or Redis's.
  private static func isSpecial(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["), UInt8(ascii: "]"),
      UInt8(ascii: "\\"):
      return true
    default: return false
    }
  }

  static func described(_ byte: UInt8) -> String {
    switch byte {
    case 0x20: return "a space"
    case 0x21..<0x7F: return "'\(Character(Unicode.Scalar(byte)))'"
    case 0x80...: return "a character beyond ASCII"
    default: return "a control character (0x\(byte < 16 ? "0" : "")\(String(byte, radix: 16)))"
    }
  }
}
