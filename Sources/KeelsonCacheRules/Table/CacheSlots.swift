/// The places of a cache's entries, without the entries: finds them by hash, says which have to go and
/// whose time has come, and counts every byte. Who owns it keeps the entries in arrays of its own, by
/// slot, and compares the keys.
///
/// All is in flat arrays that grow by a quarter; no entry has an object here. About 65 bytes an entry:
/// 8 + 4…8 to find it, 12 and 8…16 to judge it, 12 for its time, and on average an eighth more for the
/// room that the arrays keep. They count like the entries.
package struct CacheSlots: ~Copyable {
  /// Bytes of the entries and of all that it takes to keep them, at most.
  package let byteLimit: Int
  /// What the owner's own arrays have for each slot.
  private let ownerBytes: Int
  private var index = HashIndex()
  private var policy: WTinyLFU
  private var wheel: TimerWheel
  private var evicted: [Int] = []
  /// Of the arrays, here and at the owner.
  package private(set) var structureBytes = 0

  package private(set) var count = 0
  /// Entries that had to go for others, so far.
  package private(set) var evictions: UInt64 = 0
  /// Entries whose time was over, so far.
  package private(set) var expirations: UInt64 = 0

  package init(byteLimit: Int, ownerBytes: Int, now: CacheInstant) {
    self.byteLimit = byteLimit
    self.ownerBytes = ownerBytes
    policy = WTinyLFU(limit: byteLimit)
    wheel = TimerWheel(now: now)
    measureStructure()
  }

  /// Of the entries, and of what it takes to keep them.
  package var bytes: Int { policy.totalBytes + structureBytes }

  /// Slots there are; the owner's arrays have as many.
  package var capacity: Int { index.slots }

  /// Whether an entry of that size can be in it at all.
  package func fits(_ bytes: Int) -> Bool {
    bytes <= min(policy.limit, WTinyLFU.maximumWeight)
  }

  package func first(_ hash: UInt32) -> Int? { index.first(hash) }
  package func next(after slot: Int) -> Int? { index.next(after: slot) }
  package func bytes(of slot: Int) -> Int { policy.weight(of: slot) }

  /// A slot for a new entry of a size that fits. Its deadline is when it may be forgotten. The owner
  /// then takes all that ``evict()`` gives, which may be this one.
  package mutating func insert(_ hash: UInt32, bytes: Int, deadline: CacheInstant) -> Int {
    if !index.hasFreeSlot { grow() }
    let slot = index.insert(hash)
    policy.insert(slot, hash: hash, weight: bytes)
    wheel.schedule(slot, at: deadline)
    count += 1
    return slot
  }

  /// What is in a slot was asked for.
  package mutating func touch(_ slot: Int) {
    policy.touch(slot, hash: index.hash(of: slot))
  }

  /// What is in a slot is replaced. The owner then takes all that ``evict()`` gives.
  package mutating func replace(_ slot: Int, bytes: Int, deadline: CacheInstant) {
    policy.replace(slot, hash: index.hash(of: slot), weight: bytes)
    wheel.schedule(slot, at: deadline)
  }

  package mutating func reschedule(_ slot: Int, deadline: CacheInstant) {
    wheel.schedule(slot, at: deadline)
  }

  package mutating func remove(_ slot: Int) {
    policy.remove(slot)
    forget(slot)
  }

  private mutating func forget(_ slot: Int) {
    wheel.cancel(slot)
    index.remove(slot)
    count -= 1
  }

  /// A slot whose entry has to go, so that the others fit: the owner lets go of it and asks again, until
  /// there is none.
  package mutating func evict() -> Int? {
    if evicted.isEmpty { policy.evict(index, into: &evicted) }
    guard let slot = evicted.popLast() else { return nil }
    forget(slot)
    evictions += 1
    return slot
  }

  /// A slot whose time was over, removed: the owner lets go of what is in it. Looks at no more slots
  /// than the budget says, and takes off how many that were.
  package mutating func expire(at now: CacheInstant, budget: inout Int) -> Int? {
    wheel.advance(to: now)
    guard let slot = wheel.next(budget: &budget) else { return nil }
    remove(slot)
    expirations += 1
    return slot
  }

  /// The owner has found that a slot's time is over, and removes it.
  package mutating func removeExpired(_ slot: Int) {
    remove(slot)
    expirations += 1
  }

  /// Empties it; the owner's arrays begin anew too.
  package mutating func removeAll(now: CacheInstant) {
    index = HashIndex()
    policy = WTinyLFU(limit: byteLimit)
    wheel = TimerWheel(now: now)
    evicted = []
    count = 0
    measureStructure()
  }

  private mutating func grow() {
    let slots = max(16, index.slots + index.slots / 4)
    index.extend(toSlots: slots)
    policy.extend(toSlots: slots)
    wheel.extend(toSlots: slots)
    measureStructure()
  }

  private mutating func measureStructure() {
    structureBytes = index.bytes + policy.bytes + wheel.bytes + capacity * ownerBytes
    policy.limit = max(0, byteLimit - structureBytes)
  }
}
