import KeelsonCore

// Deterministic CBOR (RFC 8949, section 4.2.1), straight into the hash.
extension Murmur3 {
  private enum MajorType: UInt8 {
    case unsigned = 0x00
    case negative = 0x20
    case text = 0x60
    case array = 0x80
    case map = 0xa0
  }

  /// The value's encoding. Whole numbers from -2^63 to 2^64-1 are encoded as integers, others as
  /// the shortest float that holds them. False when the value holds a NaN or an infinity, which
  /// JSON cannot carry.
  mutating func absorbCBOR(_ value: JSONValue) -> Bool {
    switch value {
    case .null: absorb(0xf6)
    case .bool(let flag): absorb(flag ? 0xf5 : 0xf4)
    case .string(let text): absorbCBOR(text)
    case .number(let number):
      guard number.isFinite else { return false }
      absorbCBOR(number)
    case .array(let elements):
      absorb(.array, UInt64(elements.count))
      for element in elements {
        guard absorbCBOR(element) else { return false }
      }
    case .object(let members):
      absorb(.map, UInt64(members.count))
      // By encoded key: the head makes shorter keys come first.
      let sorted = members.sorted { left, right in
        let (left, right) = (left.key.utf8, right.key.utf8)
        if left.count != right.count { return left.count < right.count }
        return left.lexicographicallyPrecedes(right)
      }
      for (name, member) in sorted {
        absorbCBOR(name)
        guard absorbCBOR(member) else { return false }
      }
    }
    return true
  }

  mutating func absorbCBOR(_ text: String) {
    absorb(.text, UInt64(text.utf8.count))
    absorb(text)
  }

  /// The head of an array of so many elements.
  mutating func absorbCBORArrayHead(count: Int) {
    absorb(.array, UInt64(count))
  }

  private mutating func absorbCBOR(_ number: Double) {
    if let whole = UInt64(exactly: number) {
      absorb(.unsigned, whole)
    } else if let whole = Int64(exactly: number) {
      absorb(.negative, UInt64(bitPattern: ~whole))
    } else if let single = Float(exactly: number) {
      if let half = Murmur3.halfBits(single) {
        absorb(0xf9)
        absorbBigEndian(half)
      } else {
        absorb(0xfa)
        absorbBigEndian(single.bitPattern)
      }
    } else {
      absorb(0xfb)
      absorbBigEndian(number.bitPattern)
    }
  }

  private mutating func absorb(_ type: MajorType, _ argument: UInt64) {
    switch argument {
    case 0..<24: absorb(type.rawValue | UInt8(argument))
    case 24...0xff:
      absorb(type.rawValue | 24)
      absorb(UInt8(argument))
    case 0x100...0xffff:
      absorb(type.rawValue | 25)
      absorbBigEndian(UInt16(argument))
    case 0x1_0000...0xffff_ffff:
      absorb(type.rawValue | 26)
      absorbBigEndian(UInt32(argument))
    default:
      absorb(type.rawValue | 27)
      absorbBigEndian(argument)
    }
  }

  private mutating func absorbBigEndian(_ number: some FixedWidthInteger & UnsignedInteger) {
    for shift in stride(from: number.bitWidth - 8, through: 0, by: -8) {
      absorb(UInt8(truncatingIfNeeded: number >> shift))
    }
  }

  /// The IEEE 754 binary16 form of a finite number; nil when binary16 does not hold it exactly.
  /// Written out because `Float16` is not available everywhere the client library is.
  static func halfBits(_ single: Float) -> UInt16? {
    let bits = single.bitPattern
    let sign = UInt16(truncatingIfNeeded: bits >> 16) & 0x8000
    let exponent = Int(bits >> 23 & 0xff) - 127
    let fraction = bits & 0x7f_ffff
    switch exponent {
    case -14...15:
      guard fraction & 0x1fff == 0 else { return nil }
      return sign | UInt16(exponent + 15) << 10 | UInt16(fraction >> 13)
    case -24...(-15):
      // Subnormal in binary16: the leading one joins the fraction.
      let shift = UInt32(-1 - exponent)
      let whole = fraction | 0x80_0000
      guard whole & (1 << shift - 1) == 0 else { return nil }
      return sign | UInt16(whole >> shift)
    default:
      return fraction == 0 && exponent == -127 ? sign : nil
    }
  }
}
