import KeelsonCore

/// The identifier of a job, a UUID, as it is stored: 16 bytes in the order of its text.
struct JobID: Sendable, Hashable {
  let bytes: [UInt8]

  static let byteCount = 16

  init(stored bytes: [UInt8]) {
    self.bytes = bytes
  }

  static func make(at time: UnixTime) -> JobID {
    // The text is that of a UUID.
    JobID(UUIDv7.make(at: time)) ?? JobID(stored: [])
  }

  /// Reads the text form, 36 characters; nil for anything else.
  init?(_ text: String) {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.byteCount)
    var high: UInt8?
    var position = 0
    for character in text.utf8 {
      defer { position += 1 }
      if Self.dashes.contains(position) {
        guard character == UInt8(ascii: "-") else { return nil }
        continue
      }
      guard let digit = Self.digit(character) else { return nil }
      if let first = high {
        bytes.append(first << 4 | digit)
        high = nil
      } else {
        high = digit
      }
    }
    guard position == UUIDv7.textBytes, bytes.count == Self.byteCount else { return nil }
    self.bytes = bytes
  }

  /// 36 lower-case characters.
  var text: String {
    String(unsafeUninitializedCapacity: UUIDv7.textBytes) { buffer in
      var position = 0
      for byte in bytes.prefix(Self.byteCount) {
        if Self.dashes.contains(position) {
          buffer[position] = UInt8(ascii: "-")
          position += 1
        }
        buffer[position] = Self.digits[Int(byte >> 4)]
        buffer[position + 1] = Self.digits[Int(byte & 0xF)]
        position += 2
      }
      return position
    }
  }

  private static let dashes: Set<Int> = [8, 13, 18, 23]
  private static let digits = Array("0123456789abcdef".utf8)

  private static func digit(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
