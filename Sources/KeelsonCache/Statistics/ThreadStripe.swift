import Glibc

/// Which of several stripes the calling thread counts on, so that threads do not contend for one
/// cache line.
enum ThreadStripe {
  /// - Parameter bits: the stripes are 2 to the power of this, 1 to 16.
  /// - Returns: 0 up to the number of stripes, the same for a thread each time.
  static func current(bits: Int) -> Int {
    // Fibonacci hashing: threads' addresses differ in the middle, the product's upper bits in all.
    Int(truncatingIfNeeded: (UInt64(pthread_self()) &* 0x9E37_79B9_7F4A_7C15) >> UInt64(64 - bits))
  }
}
