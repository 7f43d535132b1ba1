import KeelsonCacheRules
import KeelsonCore

#if canImport(Glibc)
  import Glibc
#endif

/// An entry as memory keeps it: one block on the heap, which begins with a header of 32 bytes and has
/// the key, the value and the tags behind it.
///
/// `@unchecked Sendable`: the bytes never change once it is made. What of the header does change, its
/// times and its stamp, is touched under the lock of the entry's shard only.
struct EntryBlock: @unchecked Sendable {
  struct Header {
    /// From then on it is stale.
    var freshUntil: CacheInstant
    var stamp: UInt64
    /// How long it was given to be fresh, and then to be kept.
    var ttl: PackedDuration
    var stale: PackedDuration
    /// The upper bit says that it is a negative entry.
    var valueBytes: UInt32
    var keyBytes: UInt16
    /// Each tag with a byte for its length ahead of it.
    var tagBytes: UInt16

    static let absence: UInt32 = 1 << 31
  }

  private let buffer: ManagedBuffer<Header, UInt8>

  /// Bytes on the heap of one with so many bytes of key, value and tags.
  static func bytes(content: Int) -> Int {
    HeapBytes.block(HeapBytes.objectHeaderBytes + MemoryLayout<Header>.size + content)
  }

  /// Has no times and no stamp yet.
  init(_ write: CacheWrite) {
    let keyBytes = write.key.utf8.count
    let tagBytes = write.tags.reduce(0) { $0 + 1 + $1.utf8.count }
    let header = Header(
      freshUntil: .distantFuture, stamp: 0, ttl: .zero, stale: .zero,
      valueBytes: UInt32(write.value.count) | (write.isAbsent ? Header.absence : 0),
      keyBytes: UInt16(keyBytes), tagBytes: UInt16(tagBytes))
    buffer = .create(minimumCapacity: keyBytes + write.value.count + tagBytes) { _ in header }
    buffer.withUnsafeMutablePointerToElements { start in
      var next = start
      func put(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let base = bytes.baseAddress else { return }
        next.initialize(from: base, count: bytes.count)
        next += bytes.count
      }
      var key = write.key
      key.withUTF8(put)
      write.value.withUnsafeBufferPointer(put)
      for tag in write.tags {
        var tag = tag
        next.initialize(to: UInt8(tag.utf8.count))
        next += 1
        tag.withUTF8(put)
      }
    }
  }

  var header: Header {
    get { buffer.header }
    nonmutating _modify { yield &buffer.header }
  }

  var keptUntil: CacheInstant {
    CacheInstant(microseconds: header.freshUntil.microseconds + header.stale.microseconds)
  }

  /// Bytes on the heap.
  var bytes: Int {
    Self.bytes(content: Int(header.keyBytes) + valueBytes + Int(header.tagBytes))
  }

  /// Bytes behind the header as the heap has given them.
  var capacityBytes: Int { buffer.capacity }

  private var valueBytes: Int { Int(header.valueBytes & ~Header.absence) }

  func hasKey(_ key: String) -> Bool {
    let count = Int(header.keyBytes)
    guard key.utf8.count == count else { return false }
    return buffer.withUnsafeMutablePointerToElements { start in
      var key = key
      return key.withUTF8 { $0.baseAddress.map { memcmp($0, start, count) == 0 } ?? true }
    }
  }

  var key: String {
    buffer.withUnsafeMutablePointerToElements { start in
      String(
        decoding: UnsafeBufferPointer(start: start, count: Int(header.keyBytes)), as: UTF8.self)
    }
  }

  var tags: [String] {
    guard header.tagBytes > 0 else { return [] }
    return buffer.withUnsafeMutablePointerToElements { start in
      var next = start + Int(header.keyBytes) + valueBytes
      let end = next + Int(header.tagBytes)
      var tags: [String] = []
      while next < end {
        let count = Int(next.pointee)
        tags.append(
          String(decoding: UnsafeBufferPointer(start: next + 1, count: count), as: UTF8.self))
        next += 1 + count
      }
      return tags
    }
  }

  var value: [UInt8] {
    let count = valueBytes
    guard count > 0 else { return [] }
    return buffer.withUnsafeMutablePointerToElements { start in
      [UInt8](UnsafeBufferPointer(start: start + Int(header.keyBytes), count: count))
    }
  }

  var isAbsent: Bool { header.valueBytes & Header.absence != 0 }
}
