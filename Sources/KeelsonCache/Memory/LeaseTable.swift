import KeelsonCacheRules
import KeelsonCore

/// The leases of a shard's keys, and who waits for each to end. The oldest goes when there are too many:
/// what its holder loads is then not stored, and nothing else is lost.
struct LeaseTable: Sendable {
  typealias Waiter = CancellableWait<Void>

  struct Lease: Sendable {
    let key: String
    let token: UInt64
    /// The sequence when it was given.
    let stamp: UInt64
    let granted: CacheInstant
    let ends: CacheInstant
    fileprivate(set) var waiters: [ObjectIdentifier: Waiter] = [:]
  }

  /// Of a lease, its key apart: its place in the three collections, which may be twice as large as what
  /// is in them.
  private static let placeBytes =
    2
    * (MemoryLayout<Lease?>.stride + MemoryLayout<BytewiseKey>.stride + MemoryLayout<Int>.stride + 8)
  private static let (granted, free) = (0, 1)

  private let byteLimit: Int
  private var slots: [BytewiseKey: Int] = [:]
  private var leases: [Lease?] = []
  /// The leases in the order in which they were given, and the places that are free.
  private var lists = SlotLists(lists: 2)
  private var keyBytes = 0

  init(byteLimit: Int) {
    self.byteLimit = byteLimit
  }

  var count: Int { slots.count }
  var bytes: Int { keyBytes + slots.count * Self.placeBytes }

  /// The lease of a key that has not ended.
  func standing(_ key: String, at now: CacheInstant) -> Lease? {
    guard let slot = slots[BytewiseKey(key)], let lease = leases[slot], lease.ends > now else {
      return nil
    }
    return lease
  }

  /// Puts a lease in place of the key's. Returns who has to be woken.
  mutating func grant(_ lease: Lease) -> [Waiter] {
    var woken = remove(lease.key)
    // What has ended goes, a little at a time.
    for _ in 0..<2 {
      guard let slot = lists.first(Self.granted), let oldest = leases[slot],
        oldest.ends <= lease.granted
      else { break }
      woken += remove(oldest.key)
    }
    if lists.isEmpty(Self.free) {
      let count = max(16, leases.count * 2)
      let first = leases.count
      lists.extend(toSlots: count)
      leases.append(contentsOf: repeatElement(nil, count: count - first))
      for slot in first..<count { lists.append(slot, to: Self.free) }
    }
    // There is one: more were made above if there was none.
    let slot = lists.first(Self.free)!
    lists.remove(slot)
    lists.append(slot, to: Self.granted)
    leases[slot] = lease
    slots[BytewiseKey(lease.key)] = slot
    keyBytes += HeapBytes.string(lease.key)
    while bytes > byteLimit, let slot = lists.first(Self.granted), let oldest = leases[slot] {
      woken += remove(oldest.key)
    }
    return woken
  }

  /// Ends the lease of a key. Returns who has to be woken.
  mutating func remove(_ key: String) -> [Waiter] {
    guard !slots.isEmpty, let slot = slots.removeValue(forKey: BytewiseKey(key)),
      let lease = leases[slot]
    else { return [] }
    leases[slot] = nil
    lists.remove(slot)
    lists.append(slot, to: Self.free)
    keyBytes -= HeapBytes.string(lease.key)
    return Array(lease.waiters.values)
  }

  /// Places of leases, from 0 on.
  var places: Int { leases.count }

  /// The lease at a place.
  func lease(at place: Int) -> Lease? { leases[place] }

  /// Ends those that have to. Returns who has to be woken.
  mutating func removeAll(where isOver: (Lease) -> Bool) -> [Waiter] {
    var woken: [Waiter] = []
    var next = lists.first(Self.granted)
    while let slot = next, let lease = leases[slot] {
      next = lists.next(after: slot)
      if isOver(lease) { woken += remove(lease.key) }
    }
    return woken
  }

  /// Has somebody woken when the lease with that token ends in any way but by its time. Returns when its
  /// time is over; nil when it stands no more.
  mutating func join(
    _ key: String, token: UInt64, at now: CacheInstant, _ waiter: Waiter
  ) -> CacheInstant? {
    guard let slot = slots[BytewiseKey(key)], let lease = leases[slot], lease.token == token,
      lease.ends > now
    else { return nil }
    leases[slot]?.waiters[ObjectIdentifier(waiter)] = waiter
    return lease.ends
  }

  mutating func leave(_ key: String, token: UInt64, _ waiter: Waiter) {
    guard let slot = slots[BytewiseKey(key)], leases[slot]?.token == token else { return }
    leases[slot]?.waiters[ObjectIdentifier(waiter)] = nil
  }
}
