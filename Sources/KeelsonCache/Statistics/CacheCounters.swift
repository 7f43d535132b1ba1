import Synchronization

/// What this server has done with the cache since it started.
///
/// Counting is one relaxed addition on a stripe that is nearly the thread's own; reading adds the
/// stripes up.
package final class CacheCounters: Sendable {
  /// What is counted. Source: SYS-114.
  package enum Count: Int, Sendable, CaseIterable {
    /// Gets that found a fresh entry, negative ones among them.
    case hits
    case misses
    /// Gets that clients have answered from their copies, as they report.
    case nearHits
    case sets
    /// Values that came after their lease was lost, or while the engine was full.
    case setsRefused
    case leases
    /// Calls that waited for what another loads.
    case leaseWaits
    /// Keys, tags and patterns that were invalidated here, each for itself.
    case keyInvalidations
    case tagInvalidations
    case patternInvalidations
    case flushes
    /// Times that this server fell back to its own memory.
    case fallbacks
  }

  private static let stripeBits = 4
  /// Two cache lines.
  private static let stripeCells = 16
  private let cells = InlineArray<256, Atomic<UInt64>> { _ in Atomic(0) }

  package init() {}

  package func add(_ number: Int = 1, to count: Count) {
    guard number > 0 else { return }
    let stripe = ThreadStripe.current(bits: Self.stripeBits)
    cells[stripe * Self.stripeCells + count.rawValue]
      .wrappingAdd(UInt64(number), ordering: .relaxed)
  }

  package subscript(_ count: Count) -> UInt64 {
    var sum: UInt64 = 0
    for stripe in 0..<1 << Self.stripeBits {
      sum &+= cells[stripe * Self.stripeCells + count.rawValue].load(ordering: .relaxed)
    }
    return sum
  }

  /// (hits + near hits) / (hits + near hits + misses); nil while there were no gets.
  package var hitRatio: Double? {
    let found = Double(self[.hits]) + Double(self[.nearHits])
    let all = found + Double(self[.misses])
    return all > 0 ? found / all : nil
  }
}
