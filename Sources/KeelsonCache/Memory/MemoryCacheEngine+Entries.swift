package import KeelsonCacheRules
import KeelsonCore
import Synchronization

extension MemoryCacheEngine {
  /// The entry of a key that is kept and current; what is neither goes. With the shard locked.
  func find(
    _ key: String, _ hash: UInt32, _ state: inout MemoryShard.State, at now: CacheInstant
  ) -> (slot: Int, record: EntryRecord)? {
    guard let (slot, record) = state.find(key, hash) else { return nil }
    guard record.keptUntil > now else {
      state.slots.removeExpired(slot)
      state.log.remove(slot)
      return nil
    }
    guard isCurrent(record) else {
      state.remove(slot)
      return nil
    }
    return (slot, record)
  }

  /// A copy for the caller, `calendar` being the time now. With the shard locked.
  func entry(_ record: EntryRecord, at now: CacheInstant, _ calendar: UnixTime) -> CacheEntry {
    let header = record.header
    let left = header.freshUntil.microseconds - now.microseconds
    return CacheEntry(
      value: record.value, isAbsent: record.isAbsent, tags: record.tags,
      position: CachePosition(epoch: epoch.load(ordering: .relaxed), sequence: header.stamp),
      freshUntil: UnixTime(microseconds: calendar.microseconds + left),
      ttl: .milliseconds(header.ttlMilliseconds))
  }

  /// The entry of a key if there is a current one that is fresh.
  package func getNow(_ key: String) -> CacheEntry? {
    let (shard, hash) = place(key)
    let (now, calendar) = (clock.now(), clock.calendar())
    return shard.state.withLock { state in
      guard let (slot, record) = find(key, hash, &state, at: now), record.header.freshUntil > now
      else { return nil }
      state.slots.touch(slot)
      return entry(record, at: now, calendar)
    }
  }

  package func getNow(_ keys: [String]) -> [CacheEntry?] { keys.map(getNow) }

  // MARK: Writing

  /// Until when an entry may be kept that was true at a time.
  func oldest(_ born: CacheInstant) -> CacheInstant {
    maximumAge.map { born + $0 } ?? .distantFuture
  }

  package func setNow(_ write: CacheWrite) -> CacheWriteOutcome {
    let (shard, hash) = place(write.key)
    let now = clock.now()
    let times = EntryTimes(write.lifetime, until: oldest(now), at: now)
    let (outcome, woken) = shard.state.withLock {
      state -> (CacheWriteOutcome, [LeaseTable.Waiter]) in
      let sequence = nextSequence([write.key])
      let woken = state.leases.remove(write.key)
      guard state.fits(write) else {
        if let (slot, _) = state.find(write.key, hash) { state.remove(slot) }
        return (.full, woken)
      }
      state.store(write, hash, times, stamp: sequence, at: now)
      let position = CachePosition(epoch: epoch.load(ordering: .relaxed), sequence: sequence)
      return (.stored(position, isLocal: maximumAge != nil), woken)
    }
    for waiter in woken { waiter.end(.success(())) }
    return outcome
  }

  package func setNow(_ writes: [CacheWrite]) -> [CacheWriteOutcome] { writes.map(setNow) }

  /// Only what is fresh: what is not may be old. With a largest age, an entry's time can only become
  /// shorter.
  package func touchNow(_ key: String, _ lifetime: CacheLifetime) -> Bool {
    let (shard, hash) = place(key)
    let now = clock.now()
    return shard.state.withLock { state in
      guard let (slot, record) = find(key, hash, &state, at: now), record.header.freshUntil > now
      else { return false }
      let last = maximumAge == nil ? .distantFuture : record.keptUntil
      let times = EntryTimes(lifetime, until: last, at: now)
      record.setTimes(times)
      state.slots.touch(slot)
      state.slots.reschedule(slot, deadline: times.keptUntil)
      return true
    }
  }

  package func touchNow(_ keys: [String], _ lifetime: CacheLifetime) -> [Bool] {
    keys.map { touchNow($0, lifetime) }
  }

  /// Takes out entries and leases: one invalidation, with the keys in this order.
  package func deleteNow(_ keys: [String]) -> (found: [Bool], position: CachePosition) {
    let places = keys.map(place)
    let shards = Set(places.map(\.shard.number)).sorted()
    var deletion = Deletion(
      keys: keys, places: places, now: clock.now(), found: keys.map { _ in false })
    let position = delete(&deletion, in: shards[...])
    for waiter in deletion.woken { waiter.end(.success(())) }
    return (deletion.found, position)
  }

  private struct Deletion {
    let keys: [String]
    let places: [(shard: MemoryShard, hash: UInt32)]
    let now: CacheInstant
    var found: [Bool]
    var woken: [LeaseTable.Waiter] = []
  }

  /// The invalidation gets its number with all of the shards locked.
  private func delete(_ deletion: inout Deletion, in shards: ArraySlice<Int>) -> CachePosition {
    guard let number = shards.first else {
      return CachePosition(
        epoch: epoch.load(ordering: .relaxed), sequence: nextSequence(deletion.keys))
    }
    return self.shards[number].state.withLock { state in
      let position = delete(&deletion, in: shards.dropFirst())
      for (index, place) in deletion.places.enumerated() where place.shard.number == number {
        let key = deletion.keys[index]
        deletion.woken += state.leases.remove(key)
        guard let (slot, _) = find(key, place.hash, &state, at: deletion.now) else { continue }
        state.remove(slot)
        deletion.found[index] = true
      }
      return position
    }
  }
}
