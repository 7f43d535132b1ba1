package import KeelsonCacheRules
package import KeelsonCore
import Synchronization

/// Entries in this process's memory, within a limit in bytes. Nothing here waits for anything: each
/// function of ``CacheEngine`` has one of its name with `Now` behind it that is not async.
///
/// Entries and leases are in shards by the hash of their key. What becomes void is numbered under one
/// lock, `order`. Lock order: sweep → shard (in the order of their numbers where there are several) →
/// order. The follower is called with `order` held, and so hears in the order of the sequence;
/// whatever a shard's entries become is numbered while the shard is locked, so that two writes of a key
/// happen in the order of their numbers. Nobody is woken with a shard or the order locked, and no observer
/// calls back.
package final class MemoryCacheEngine: CacheEngine {
  package struct Clock: Sendable {
    package var now: @Sendable () -> CacheInstant
    package var calendar: @Sendable () -> UnixTime

    package static let system = Clock(now: { .now }, calendar: { .now })

    package init(
      now: @escaping @Sendable () -> CacheInstant, calendar: @escaping @Sendable () -> UnixTime
    ) {
      self.now = now
      self.calendar = calendar
    }
  }

  struct Order: Sendable {
    var view: InvalidationView
    var observer: (@Sendable (CacheFeedEvent) -> Void)?
  }

  let shards: [MemoryShard]
  let order: Mutex<Order>
  let sweepState = Mutex(SweepState())
  /// Copies of what `order` guards, to be read without it. They are written with it held.
  let epoch: Atomic<UInt64>
  let sequence = Atomic<UInt64>(0)
  /// What has a stamp that is not lower is current.
  let lastOfMany = Atomic<UInt64>(0)
  let limits: InvalidationView.Limits
  let byteLimit: Int
  let maximumAge: Duration?
  let clock: Clock
  private let shardShift: UInt64

  /// A shard has at least so many bytes, and room for so many values of the largest size.
  private static let (shardBytes, shardValues) = (8 << 20, 8)
  private static let maximumShards = 16

  /// - Parameters:
  ///   - byteLimit: of entries, leases, and what it takes to keep them.
  ///   - valueBytes: of the largest value.
  ///   - maximumAge: how old an entry may become, from when its lease was given or it was set, and how
  ///     long a lease may last; nil: as long as they are given.
  package init(
    byteLimit: Int, valueBytes: Int = 1 << 20, maximumAge: Duration? = nil,
    limits: InvalidationView.Limits = .init(), clock: Clock = .system
  ) {
    self.byteLimit = byteLimit
    self.maximumAge = maximumAge
    self.limits = limits
    self.clock = clock
    var count = 1
    let shardBytes = max(Self.shardBytes, Self.shardValues * valueBytes)
    while count < Self.maximumShards, byteLimit / (count * 2) >= shardBytes { count *= 2 }
    shardShift = UInt64(64 - count.trailingZeroBitCount)
    let now = clock.now()
    shards = (0..<count).map { MemoryShard($0, byteLimit: byteLimit / count, now: now) }
    let epoch = Self.newEpoch()
    self.epoch = Atomic(epoch)
    order = Mutex(Order(view: InvalidationView(epoch: epoch, limits: limits)))
  }

  private static func newEpoch() -> UInt64 { .random(in: 1...UInt64.max) }

  /// Where a key belongs: its shard by the upper bits, its place there by the lower.
  func place(_ key: String) -> (shard: MemoryShard, hash: UInt32) {
    var hasher = Hasher()
    key.hashBytes(into: &hasher)
    let hash = UInt64(truncatingIfNeeded: hasher.finalize())
    // A shift by 64 is 0: the only shard.
    return (shards[Int(truncatingIfNeeded: hash >> shardShift)], UInt32(truncatingIfNeeded: hash))
  }

  // MARK: What becomes void, in order

  /// Numbers an invalidation by keys. The shard of all of them is locked.
  func nextSequence(_ keys: @autoclosure () -> [String]) -> UInt64 {
    order.withLock { order in
      let next = order.view.invalidateKeys()
      sequence.store(next, ordering: .releasing)
      order.observer?(.invalidation(Invalidation(sequence: next, scope: .keys(keys()))))
      return next
    }
  }

  /// Whether what has this stamp is current; then it is as of now, and the stamp becomes so. With the
  /// shard locked.
  func isCurrent(_ record: EntryRecord) -> Bool {
    if record.header.stamp >= lastOfMany.load(ordering: .acquiring) { return true }
    let tags = record.tags
    let (bans, now) = order.withLock { order in
      (order.view.bansToMatch(stamp: record.header.stamp, tags: tags), order.view.sequence)
    }
    var steps = 0
    guard !BanMatching.isVoid(record.key, by: bans, steps: &steps) else { return false }
    record.header.stamp = now
    return true
  }

  func isCurrent(_ lease: LeaseTable.Lease) -> Bool {
    if lease.stamp >= lastOfMany.load(ordering: .acquiring) { return true }
    let bans = order.withLock { $0.view.bansToMatch(stamp: lease.stamp, tags: []) }
    var steps = 0
    return !BanMatching.isVoid(lease.key, by: bans, steps: &steps)
  }

  package func follow(_ observer: @escaping @Sendable (CacheFeedEvent) -> Void) {
    order.withLock { order in
      order.observer = observer
      observer(
        .start(CachePosition(epoch: order.view.epoch, sequence: order.view.sequence)))
    }
  }

  /// What this engine knows is always as of now.
  package func age(at now: ContinuousClock.Instant) -> Duration? { .zero }

  package var position: CachePosition {
    order.withLock { CachePosition(epoch: $0.view.epoch, sequence: $0.view.sequence) }
  }

  // MARK: All of it

  /// Empties it and begins another epoch: what was known before is void.
  package func clear() {
    var woken: [LeaseTable.Waiter] = []
    // Freed when no lock is held any more.
    var garbage: [EntryLog] = []
    clear(from: 0, &woken, &garbage)
    for waiter in woken { waiter.end(.success(())) }
  }

  /// The new epoch begins with every shard locked.
  private func clear(
    from index: Int, _ woken: inout [LeaseTable.Waiter], _ garbage: inout [EntryLog]
  ) {
    guard index < shards.count else {
      return order.withLock { order in
        let new = Self.newEpoch()
        order.view = InvalidationView(epoch: new, limits: limits)
        epoch.store(new, ordering: .releasing)
        sequence.store(0, ordering: .releasing)
        lastOfMany.store(0, ordering: .releasing)
        order.observer?(.start(CachePosition(epoch: new, sequence: 0)))
      }
    }
    let (found, logs) = shards[index].state.withLock { state in
      let log = exchange(&state.log, with: EntryLog(byteLimit: byteLimit / shards.count))
      state.slots.removeAll(now: clock.now())
      let found = state.leases.removeAll { _ in true }
      var inner: [LeaseTable.Waiter] = []
      var innerLogs: [EntryLog] = []
      clear(from: index + 1, &inner, &innerLogs)
      return (found + inner, innerLogs + [log])
    }
    woken += found
    garbage += logs
  }

  package func measureNow() -> CacheMeasure {
    var measure = CacheMeasure(
      kind: maximumAge == nil ? .memory : .fallback, entries: 0, memoryBytes: 0,
      memoryLimitBytes: UInt64(byteLimit), evictions: 0, expirations: 0)
    for shard in shards {
      shard.state.withLock { state in
        measure.entries += UInt64(state.slots.count)
        measure.memoryBytes += UInt64(state.bytes)
        measure.evictions += state.slots.evictions
        measure.expirations += state.slots.expirations
      }
    }
    return measure
  }
}
