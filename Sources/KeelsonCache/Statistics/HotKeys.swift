import Glibc
import Synchronization

/// The keys that are asked for most of late. Source: SYS-114.
///
/// Of each thread's gets the first 256 of a second are counted, and of those beyond every 64th, at
/// random, for 64. Counts age: what was asked for a minute ago counts half. Memory is bounded by
/// 4 × 2,048 keys, 4 MiB when each has the 512 bytes that a key may have.
package final class HotKeys: Sendable {
  package struct Key: Sendable, Hashable {
    package var key: String
    /// An estimate: how often it was asked for, what is older counted for less.
    package var count: UInt64
  }

  private static let stripeBits = 2
  private static let keysPerStripe = 2_048
  private static let countedPerPeriod: UInt64 = 256
  private static let period: Duration = .seconds(1)
  /// One of so many is looked at beyond that; a power of two.
  private static let sampling: UInt64 = 64
  private static let halfLifeSeconds = 60.0
  /// After so many half-lives the counts are scaled, long before a Double overflows.
  private static let scaleAfterHalfLives = 256.0

  private struct Tally: Sendable {
    var summary = SpaceSavingSummary(capacity: keysPerStripe)
    /// When a get weighs 1.
    var base: ContinuousClock.Instant
    var periodStart: ContinuousClock.Instant

    /// What a get weighs: twice as much as one of a half-life ago.
    func weight(at now: ContinuousClock.Instant) -> Double {
      exp2((now - base) / .seconds(1) / halfLifeSeconds)
    }
  }

  private final class Stripe: Sendable {
    let tally: Mutex<Tally>
    init(_ tally: Tally) { self.tally = Mutex(tally) }
  }

  /// Each thread's gets of its period, a cache line apart.
  private let gets = InlineArray<32, Atomic<UInt64>> { _ in Atomic(0) }
  private static let getsApart = 8
  private let stripes: [Stripe]
  private let now: @Sendable () -> ContinuousClock.Instant

  package init(now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
    self.now = now
    let start = now()
    stripes = (0..<1 << Self.stripeBits).map { _ in Stripe(Tally(base: start, periodStart: start)) }
  }

  /// Notes that a key was asked for.
  package func note(_ key: String) {
    let stripe = ThreadStripe.current(bits: Self.stripeBits)
    let number = gets[stripe * Self.getsApart].wrappingAdd(1, ordering: .relaxed).oldValue
    if number < Self.countedPerPeriod {
      count(key, 1, on: stripe)
    } else if Self.mixed(number) % Self.sampling == 0 {
      count(key, Double(Self.sampling), on: stripe)
    }
  }

  /// The keys asked for most, the most first.
  package func hottest(_ limit: Int) -> [Key] {
    guard limit > 0 else { return [] }
    let now = now()
    var counts: [String: Double] = [:]
    for stripe in stripes {
      stripe.tally.withLock { tally in
        let weight = tally.weight(at: now)
        // Without its error: a key that came just now has inherited the count of another.
        for entry in tally.summary.entries {
          counts[entry.key, default: 0] += (entry.count - entry.error) / weight
        }
      }
    }
    return
      counts
      .map { Key(key: $0.key, count: UInt64($0.value.rounded())) }
      .filter { $0.count > 0 }
      .sorted { ($1.count, $0.key) < ($0.count, $1.key) }
      .prefix(limit).map { $0 }
  }

  /// Apart, so that the many gets that are not looked at stay short. Who finds the stripe taken
  /// counts for nothing: nobody waits here.
  @inline(never)
  private func count(_ key: String, _ gets: Double, on stripe: Int) {
    stripes[stripe].tally.withLockIfAvailable { tally in
      let now = now()
      if now - tally.periodStart >= Self.period {
        tally.periodStart = now
        self.gets[stripe * Self.getsApart].store(0, ordering: .relaxed)
      }
      var weight = tally.weight(at: now)
      if weight > exp2(Self.scaleAfterHalfLives) {
        tally.summary.scale(by: 1 / weight)
        tally.base = now
        weight = 1
      }
      tally.summary.add(key, weight: gets * weight)
    }
  }

  /// The finalizer of SplitMix64: the numbers of gets in a random order.
  private static func mixed(_ number: UInt64) -> UInt64 {
    var bits = number &* 0x9E37_79B9_7F4A_7C15
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }
}
