import KeelsonCacheRules
import Synchronization

/// A part of the memory engine's entries, with the leases of their keys, under a lock of its own.
final class MemoryShard: Sendable {
  struct State: ~Copyable, Sendable {
    var slots: CacheSlots
    /// By slot.
    var blocks: [EntryBlock?] = []
    var leases: LeaseTable

    func slot(of key: String, _ hash: UInt32) -> Int? {
      var next = slots.first(hash)
      while let slot = next {
        if blocks[slot]?.hasKey(key) == true { return slot }
        next = slots.next(after: slot)
      }
      return nil
    }

    /// Puts a block, which has its times, in the place of its key's. It has to fit.
    mutating func store(_ block: EntryBlock, _ key: String, _ hash: UInt32, at now: CacheInstant) {
      var budget = 4
      expire(at: now, budget: &budget)
      let (bytes, deadline) = (block.bytes, block.keptUntil)
      if let slot = slot(of: key, hash) {
        slots.replace(slot, bytes: bytes, deadline: deadline)
        blocks[slot] = block
      } else {
        let slot = slots.insert(hash, bytes: bytes, deadline: deadline)
        if blocks.count < slots.capacity {
          blocks.reserveCapacity(slots.capacity)
          blocks.append(contentsOf: repeatElement(nil, count: slots.capacity - blocks.count))
        }
        blocks[slot] = block
      }
      while let slot = slots.evict() { blocks[slot] = nil }
    }

    mutating func remove(_ slot: Int) {
      slots.remove(slot)
      blocks[slot] = nil
    }

    mutating func expire(at now: CacheInstant, budget: inout Int) {
      while let slot = slots.expire(at: now, budget: &budget) { blocks[slot] = nil }
    }
  }

  /// Its place among the shards.
  let number: Int
  let state: Mutex<State>

  init(_ number: Int, byteLimit: Int, now: CacheInstant) {
    self.number = number
    let leaseBytes = byteLimit / MemoryShard.leaseShare
    state = Mutex(
      State(
        slots: CacheSlots(
          byteLimit: byteLimit - leaseBytes, ownerBytes: MemoryLayout<EntryBlock?>.stride, now: now),
        leases: LeaseTable(byteLimit: leaseBytes)))
  }

  /// Leases may have one part in so many of the bytes.
  private static let leaseShare = 16
}
