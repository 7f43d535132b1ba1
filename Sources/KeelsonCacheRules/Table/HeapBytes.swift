/// What memory costs on the heap of glibc (malloc/malloc.c): a chunk has 8 bytes of its own, is a
/// multiple of 16 and at least 32 bytes; what is mapped by itself, from 128 KiB on, is whole pages.
package enum HeapBytes {
  /// Of one block of so many bytes.
  package static func block(_ bytes: Int) -> Int {
    if bytes >= 128 << 10 { return (bytes + 16 + 4_095) & ~4_095 }
    return max(32, (bytes + 8 + 15) & ~15)
  }

  /// Of an array's storage, room that is not used included.
  static func array<Element>(_ array: [Element]) -> Int {
    array.capacity == 0
      ? 0 : block(arrayHeaderBytes + array.capacity * MemoryLayout<Element>.stride)
  }

  /// Of a string's storage: up to 15 bytes of UTF-8 need none.
  package static func string(_ string: String) -> Int {
    let bytes = string.utf8.count
    return bytes <= 15 ? 0 : block(stringHeaderBytes + bytes + 1)
  }

  /// An object's type and reference counts.
  package static let objectHeaderBytes = 16
  private static let arrayHeaderBytes = objectHeaderBytes + 16
  private static let stringHeaderBytes = objectHeaderBytes + 16
}
