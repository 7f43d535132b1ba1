import KeelsonCacheRules
import KeelsonCore

/// An entry as it is stored in Redis. Numbers have their highest byte first.
///
///     offset  bytes
///          0      1  version, 1
///          1      1  1 for a negative entry
///          2      8  epoch
///         10      8  stamp
///         18      8  a number that no other writing has
///         26      8  milliseconds since 1970 by Redis's clock, until which it is fresh
///         34      8  milliseconds that it was given to be fresh
///         42      1  how many tags
///         43         each tag: a byte with its length, and its bytes
///                    the value
struct EntryBlob {
  static let version: UInt8 = 1
  /// Up to the tags.
  static let headerBytes = 42
  static let stampOffset = 10
  static let nonceOffset = 18
  /// What comes before says which writing it is; the times change when it is touched.
  static let timesOffset = 26
  /// Header and tags, with as many as an entry may ever have: the setting `cache-tags` allows 64.
  static let headBytes = headerBytes + 1 + 64 * (1 + CacheKey.maximumTagBytes)

  var epoch: UInt64
  var stamp: UInt64
  var isAbsent: Bool
  /// Milliseconds since 1970, by Redis's clock.
  var freshUntil: Int64
  var ttl: Duration
  var tags: [String]
  var value: ArraySlice<UInt8>

  /// Reads one; nil for another version, and for what is none.
  init?(_ bytes: [UInt8]) {
    guard bytes.count > Self.headerBytes, bytes[0] == Self.version else { return nil }
    isAbsent = bytes[1] == 1
    epoch = Self.number(bytes, at: 2)
    stamp = Self.number(bytes, at: Self.stampOffset)
    freshUntil = Int64(bitPattern: Self.number(bytes, at: Self.timesOffset))
    let milliseconds = Int64(bitPattern: Self.number(bytes, at: Self.timesOffset + 8))
    guard Self.times.contains(freshUntil), Self.times.contains(milliseconds) else { return nil }
    ttl = .milliseconds(milliseconds)
    var offset = Self.headerBytes + 1
    tags = []
    let count = Int(bytes[Self.headerBytes])
    if count > 0 { tags.reserveCapacity(count) }
    for _ in 0..<count {
      guard offset < bytes.count else { return nil }
      let end = offset + 1 + Int(bytes[offset])
      guard end <= bytes.count else { return nil }
      tags.append(String(decoding: bytes[offset + 1..<end], as: UTF8.self))
      offset = end
    }
    value = bytes[offset...]
  }

  /// Up to the year 10,000: what is beyond was not written by us.
  private static let times = 0...(253_402_300_800_000 as Int64)

  // MARK: Writing

  /// Version, kind and epoch: what comes before the stamp, which a script puts in for a plain set.
  static func start(_ write: CacheWrite, epoch: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(stampOffset)
    bytes.append(version)
    bytes.append(write.isAbsent ? 1 : 0)
    append(epoch, to: &bytes)
    return bytes
  }

  /// The bytes that come after the stamp.
  static func restBytes(_ write: CacheWrite) -> Int {
    headerBytes - nonceOffset + 1 + write.tags.reduce(0) { $0 + 1 + $1.utf8.count }
      + write.value.count
  }

  /// What comes after the stamp.
  static func appendRest(
    _ write: CacheWrite, freshUntil: Int64, nonce: UInt64, to bytes: inout [UInt8]
  ) {
    append(nonce, to: &bytes)
    appendTimes(freshUntil: freshUntil, ttl: write.lifetime.ttl, to: &bytes)
    bytes.append(UInt8(write.tags.count))
    for tag in write.tags {
      bytes.append(UInt8(tag.utf8.count))
      bytes.append(contentsOf: tag.utf8)
    }
    bytes.append(contentsOf: write.value)
  }

  static func appendTimes(freshUntil: Int64, ttl: Duration, to bytes: inout [UInt8]) {
    append(UInt64(bitPattern: freshUntil), to: &bytes)
    append(ttl.wholeMilliseconds, to: &bytes)
  }

  static func append(_ number: UInt64, to bytes: inout [UInt8]) {
    unsafe withUnsafeBytes(of: number.bigEndian) { unsafe bytes.append(contentsOf: $0) }
  }

  private static func number(_ bytes: [UInt8], at offset: Int) -> UInt64 {
    var number: UInt64 = 0
    for index in offset..<offset + 8 { number = number << 8 | UInt64(bytes[index]) }
    return number
  }
}
