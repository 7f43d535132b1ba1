import KeelsonCore

/// MurmurHash3 x86 32-bit, seed 0, fed piece by piece: the bytes are never gathered anywhere.
struct Murmur3: Sendable {
  private var hash: UInt32 = 0
  /// Bytes not yet a block of four, the earliest lowest.
  private var pending: UInt64 = 0
  private var pendingBits: UInt64 = 0
  private var lengthBytes: UInt32 = 0

  mutating func absorb(_ byte: UInt8) {
    lengthBytes &+= 1
    pending |= UInt64(byte) << pendingBits
    pendingBits += 8
    if pendingBits == 32 {
      mix(UInt32(truncatingIfNeeded: pending))
      pending = 0
      pendingBits = 0
    }
  }

  /// The text's UTF-8 bytes.
  mutating func absorb(_ text: String) {
    let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { absorb($0) }
    if isDone == nil {
      for byte in text.utf8 { absorb(byte) }
    }
  }

  private mutating func absorb(_ bytes: UnsafeBufferPointer<UInt8>) {
    let raw = UnsafeRawBufferPointer(bytes)
    var offset = 0
    while offset + 4 <= raw.count {
      let word = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      pending |= UInt64(word) << pendingBits
      mix(UInt32(truncatingIfNeeded: pending))
      pending >>= 32
      lengthBytes &+= 4
      offset += 4
    }
    while offset < raw.count {
      absorb(raw[offset])
      offset += 1
    }
  }

  private mutating func mix(_ block: UInt32) {
    hash ^= Murmur3.scrambled(block)
    hash = (hash << 13 | hash >> 19) &* 5 &+ 0xe654_6b64
  }

  private static func scrambled(_ block: UInt32) -> UInt32 {
    let product = block &* 0xcc9e_2d51
    return (product << 15 | product >> 17) &* 0x1b87_3593
  }

  /// The hash of all bytes so far.
  var digest: UInt32 {
    var result = hash
    if pendingBits > 0 { result ^= Murmur3.scrambled(UInt32(truncatingIfNeeded: pending)) }
    result ^= lengthBytes
    result = (result ^ result >> 16) &* 0x85eb_ca6b
    result = (result ^ result >> 13) &* 0xc2b2_ae35
    return result ^ result >> 16
  }
}
