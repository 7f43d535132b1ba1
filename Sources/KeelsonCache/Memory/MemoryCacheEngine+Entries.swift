package import KeelsonCacheRules
import KeelsonCore
import Synchronization

extension MemoryCacheEngine {
  /// What of an entry is read with its shard locked. Its bytes never change, and are copied after that.
  struct Found: Sendable {
    let block: EntryBlock
    let position: CachePosition
    let freshUntil: CacheInstant
    let ttl: Duration
  }

  /// The entry of a key that is kept and current; what is neither goes. With the shard locked.
  func find(
    _ key: String, _ hash: UInt32, _ state: inout MemoryShard.State, at now: CacheInstant
  ) -> (slot: Int, block: EntryBlock)? {
    guard let slot = state.slot(of: key, hash), let block = state.blocks[slot] else { return nil }
    guard block.keptUntil > now else {
      state.slots.removeExpired(slot)
      state.blocks[slot] = nil
      return nil
    }
    guard isCurrent(block) else {
      state.remove(slot)
      return nil
    }
    return (slot, block)
  }

  func found(_ block: EntryBlock) -> Found {
    Found(
      block: block,
      position: CachePosition(
        epoch: epoch.load(ordering: .relaxed), sequence: block.header.stamp),
      freshUntil: block.header.freshUntil,
      ttl: block.header.ttl.duration)
  }

  /// The entry for a caller. `now` as its shard was read.
  func entry(_ found: Found, at now: CacheInstant) -> CacheEntry {
    let left = found.freshUntil.microseconds - now.microseconds
    return CacheEntry(
      value: found.block.value, isAbsent: found.block.isAbsent, tags: found.block.tags,
      position: found.position,
      freshUntil: UnixTime(microseconds: clock.calendar().microseconds + left), ttl: found.ttl)
  }

  /// The entry of a key if there is a current one that is fresh.
  package func getNow(_ key: String) -> CacheEntry? {
    let (shard, hash) = place(key)
    let now = clock.now()
    let found = shard.state.withLock { state -> Found? in
      guard let (slot, block) = find(key, hash, &state, at: now), block.header.freshUntil > now
      else { return nil }
      state.slots.touch(slot)
      return self.found(block)
    }
    return found.map { entry($0, at: now) }
  }

  package func getNow(_ keys: [String]) -> [CacheEntry?] { keys.map(getNow) }

  // MARK: Writing

  /// Until when an entry may be kept that was true at a time.
  func oldest(_ born: CacheInstant) -> CacheInstant {
    maximumAge.map { born + $0 } ?? .distantFuture
  }

  /// Gives a block its times: those that it is given, but not beyond the last.
  func setTimes(
    _ block: EntryBlock, _ lifetime: CacheLifetime, until last: CacheInstant, at now: CacheInstant
  ) {
    let freshUntil = min(now + lifetime.ttl, last)
    let keptUntil = min(freshUntil + lifetime.staleFor, last)
    block.header.freshUntil = freshUntil
    block.header.ttl = PackedDuration(now.duration(to: freshUntil))
    block.header.stale = PackedDuration(freshUntil.duration(to: keptUntil))
  }

  package func setNow(_ write: CacheWrite) -> CacheWriteOutcome {
    let (shard, hash) = place(write.key)
    let block = EntryBlock(write)
    let now = clock.now()
    setTimes(block, write.lifetime, until: oldest(now), at: now)
    let (outcome, woken) = shard.state.withLock {
      state -> (CacheWriteOutcome, [LeaseTable.Waiter]) in
      let sequence = nextSequence([write.key])
      let woken = state.leases.remove(write.key)
      guard state.slots.fits(block.bytes) else {
        if let slot = state.slot(of: write.key, hash) { state.remove(slot) }
        return (.full, woken)
      }
      block.header.stamp = sequence
      state.store(block, write.key, hash, at: now)
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
      guard let (slot, block) = find(key, hash, &state, at: now), block.header.freshUntil > now
      else { return false }
      let last = maximumAge == nil ? .distantFuture : block.keptUntil
      setTimes(block, lifetime, until: last, at: now)
      state.slots.touch(slot)
      state.slots.reschedule(slot, deadline: block.keptUntil)
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
