import KeelsonCacheRules
import KeelsonCore

#if canImport(Glibc)
  import Glibc
#endif

/// An entry where it lies in an ``EntryLog``: a header, and the key, the value and the tags behind it.
/// Good only as long as the shard is locked and nothing is stored there: then it may move.
struct EntryRecord {
  struct Header {
    /// From then on it is stale.
    var freshUntil: CacheInstant
    var stamp: UInt64
    /// How long it was given to be fresh, and then to be kept.
    var ttlMilliseconds: UInt32
    var staleMilliseconds: UInt32
    /// The upper bit says that it is a negative entry.
    var valueBytes: UInt32
    var keyBytes: UInt16
    /// Each tag with a byte for its length ahead of it.
    var tagBytes: UInt16
    /// Whose it is.
    var slot: UInt32

    static let absence: UInt32 = 1 << 31
  }

  /// Records begin at a multiple of it.
  static let alignment = 8

  let base: UnsafeMutableRawPointer

  /// Bytes of the record of an entry.
  static func bytes(_ write: CacheWrite) -> Int {
    bytes(content: write.key.utf8.count + write.value.count + tagBytes(write))
  }

  private static func bytes(content: Int) -> Int {
    (MemoryLayout<Header>.size + content + alignment - 1) & ~(alignment - 1)
  }

  private static func tagBytes(_ write: CacheWrite) -> Int {
    write.tags.reduce(0) { $0 + 1 + $1.utf8.count }
  }

  /// Writes an entry to a place of that many bytes, without times and stamp.
  func initialize(_ write: CacheWrite, slot: Int) {
    let header = Header(
      freshUntil: .distantFuture, stamp: 0, ttlMilliseconds: 0, staleMilliseconds: 0,
      valueBytes: UInt32(write.value.count) | (write.isAbsent ? Header.absence : 0),
      keyBytes: UInt16(write.key.utf8.count), tagBytes: UInt16(Self.tagBytes(write)),
      slot: UInt32(slot))
    base.initializeMemory(as: Header.self, to: header)
    var next = content
    func put(_ bytes: UnsafeBufferPointer<UInt8>) {
      guard let start = bytes.baseAddress else { return }
      next.copyMemory(from: start, byteCount: bytes.count)
      next += bytes.count
    }
    var key = write.key
    key.withUTF8(put)
    write.value.withUnsafeBufferPointer(put)
    for tag in write.tags {
      var tag = tag
      next.storeBytes(of: UInt8(tag.utf8.count), as: UInt8.self)
      next += 1
      tag.withUTF8(put)
    }
  }

  var header: Header {
    get { base.assumingMemoryBound(to: Header.self).pointee }
    nonmutating _modify { yield &base.assumingMemoryBound(to: Header.self).pointee }
  }

  private var content: UnsafeMutableRawPointer { base + MemoryLayout<Header>.size }
  private var valueBytes: Int { Int(header.valueBytes & ~Header.absence) }

  /// Bytes of the record.
  var bytes: Int {
    Self.bytes(content: Int(header.keyBytes) + valueBytes + Int(header.tagBytes))
  }

  var keptUntil: CacheInstant {
    CacheInstant(
      microseconds: header.freshUntil.microseconds + Int64(header.staleMilliseconds) * 1_000)
  }

  func setTimes(_ times: EntryTimes) {
    header.freshUntil = times.freshUntil
    header.ttlMilliseconds = times.ttlMilliseconds
    header.staleMilliseconds = times.staleMilliseconds
  }

  func hasKey(_ key: String) -> Bool {
    let count = Int(header.keyBytes)
    guard key.utf8.count == count else { return false }
    var key = key
    return key.withUTF8 { $0.baseAddress.map { memcmp($0, content, count) == 0 } ?? true }
  }

  private func text(_ start: UnsafeMutableRawPointer, _ count: Int) -> String {
    String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
  }

  var key: String { text(content, Int(header.keyBytes)) }

  var value: [UInt8] {
    [UInt8](UnsafeRawBufferPointer(start: content + Int(header.keyBytes), count: valueBytes))
  }

  var isAbsent: Bool { header.valueBytes & Header.absence != 0 }

  var tags: [String] {
    guard header.tagBytes > 0 else { return [] }
    var next = content + Int(header.keyBytes) + valueBytes
    let end = next + Int(header.tagBytes)
    var tags: [String] = []
    while next < end {
      let count = Int(next.load(as: UInt8.self))
      tags.append(text(next + 1, count))
      next += 1 + count
    }
    return tags
  }
}
