import CLibUV

/// What the C library does with memory that a server has freed.
enum FreedMemory {
  /// Up to this size a block comes from a thread's heap, and as much free memory at its end stays
  /// with the process: enough for a few messages of the largest size.
  ///
  /// By itself glibc gives a large block back to the system as soon as it is freed, and the next
  /// message has to have its pages mapped and cleared anew, which was a fifth of the time of a
  /// call with 1 MiB.
  private static let keptBytes: Int32 = 8 * 1024 * 1024

  /// Once in the life of the process, whose setting it is. False with an allocator that stands in
  /// for glibc's, the address sanitizer's for example: it keeps memory in its own way.
  private static let isKept: Bool =
    mallopt(M_MMAP_THRESHOLD, keptBytes) == 1 && mallopt(M_TRIM_THRESHOLD, keptBytes) == 1

  static func keep() {
    _ = isKept
  }
}
