import KeelsonCacheRules
import Synchronization

/// A part of the memory engine's entries, with the leases of their keys, under a lock of its own.
final class MemoryShard: Sendable {
  struct State: ~Copyable, Sendable {
    var slots: CacheSlots
    /// What is in the slots.
    var log: EntryLog
    var leases: LeaseTable

    /// Of all that is there, as memory is taken from the system.
    var bytes: Int { log.bytes + slots.structureBytes + leases.bytes }

    func find(_ key: String, _ hash: UInt32) -> (slot: Int, record: EntryRecord)? {
      var next = slots.first(hash)
      while let slot = next {
        if let record = log.record(slot), record.hasKey(key) { return (slot, record) }
        next = slots.next(after: slot)
      }
      return nil
    }

    /// Whether there is room for an entry at all, if others go.
    func fits(_ write: CacheWrite) -> Bool {
      slots.fits(log.weight(EntryRecord.bytes(write)))
    }

    /// Puts an entry in the place of its key's. Its weight has to fit.
    mutating func store(
      _ write: CacheWrite, _ hash: UInt32, _ times: EntryTimes, stamp: UInt64, at now: CacheInstant
    ) {
      var budget = 4
      expire(at: now, budget: &budget)
      let weight = log.weight(EntryRecord.bytes(write))
      let slot: Int
      if let found = find(write.key, hash) {
        slot = found.slot
        log.remove(slot)
        slots.replace(slot, bytes: weight, deadline: times.keptUntil)
      } else {
        slot = slots.insert(hash, bytes: weight, deadline: times.keptUntil)
        if log.slots < slots.capacity { log.extend(toSlots: slots.capacity) }
      }
      // Others go first, so that the log never has more than it may.
      var isThere = true
      while let victim = slots.evict() {
        if victim == slot { isThere = false } else { log.remove(victim) }
      }
      guard isThere else { return }
      // What was removed may have left holes that the new entry, or a larger table, has no use for.
      let room = slots.byteLimit + log.reserveBytes - slots.structureBytes
      while log.bytes + log.pages(for: write) > room, log.compact() {}
      let record = log.store(write, slot: slot)
      record.setTimes(times)
      record.header.stamp = stamp
    }

    mutating func remove(_ slot: Int) {
      slots.remove(slot)
      log.remove(slot)
    }

    mutating func expire(at now: CacheInstant, budget: inout Int) {
      while let slot = slots.expire(at: now, budget: &budget) { log.remove(slot) }
    }
  }

  /// Its place among the shards.
  let number: Int
  let state: Mutex<State>

  init(_ number: Int, byteLimit: Int, now: CacheInstant) {
    self.number = number
    let leaseBytes = byteLimit / MemoryShard.leaseShare
    let log = EntryLog(byteLimit: byteLimit)
    state = Mutex(
      State(
        slots: CacheSlots(
          byteLimit: byteLimit - leaseBytes - log.reserveBytes, ownerBytes: EntryLog.slotBytes,
          now: now),
        log: log, leases: LeaseTable(byteLimit: leaseBytes)))
  }

  /// Leases may have one part in so many of the bytes.
  private static let leaseShare = 16
}
