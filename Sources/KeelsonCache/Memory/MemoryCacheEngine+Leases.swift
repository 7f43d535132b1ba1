package import KeelsonCacheRules
import KeelsonCore
import Synchronization

extension MemoryCacheEngine {
  /// An entry, or a lease to load it, or word that another has it.
  package func leaseNow(_ key: String, _ request: CacheLeaseRequest) -> CacheLeaseOutcome {
    let (shard, hash) = place(key)
    let (now, calendar) = (clock.now(), clock.calendar())
    var woken: [LeaseTable.Waiter] = []
    let outcome = shard.state.withLock { state -> CacheLeaseOutcome in
      var outcome = CacheLeaseOutcome()
      if let (slot, record) = find(key, hash, &state, at: now) {
        outcome.entry = entry(record, at: now, calendar)
        outcome.isFresh = record.header.freshUntil > now
        if outcome.isFresh {
          state.slots.touch(slot)
          guard isWornOut(record, request.refreshAfter, at: now) else { return outcome }
        }
      }
      if let lease = state.leases.standing(key, at: now), isCurrent(lease) {
        if !outcome.isFresh {
          outcome.ticket = lease.token
          outcome.leaseEnds = .now + now.duration(to: lease.ends)
        }
        return outcome
      }
      outcome.lease = grant(key, request, &state, &woken, at: now)
      return outcome
    }
    for waiter in woken { waiter.end(.success(())) }
    return outcome
  }

  /// Whether so much of a fresh entry's time is over that one caller is to load it anew.
  private func isWornOut(_ record: EntryRecord, _ part: Double, at now: CacheInstant) -> Bool {
    guard part < 1 else { return false }
    let ttl = Double(record.header.ttlMilliseconds) * 1_000
    let left = Double(record.header.freshUntil.microseconds - now.microseconds)
    return left <= ttl * (1 - part)
  }

  /// With the shard locked.
  private func grant(
    _ key: String, _ request: CacheLeaseRequest, _ state: inout MemoryShard.State,
    _ woken: inout [LeaseTable.Waiter], at now: CacheInstant
  ) -> CacheLease {
    // Read ahead of the answer: what becomes void from now on has a higher number.
    let position = CachePosition(
      epoch: epoch.load(ordering: .relaxed), sequence: sequence.load(ordering: .acquiring))
    let lease = CacheLease(
      token: .random(in: 1...UInt64.max), position: position,
      duration: maximumAge.map { min(request.duration, $0) } ?? request.duration)
    woken = state.leases.grant(
      LeaseTable.Lease(
        key: key, token: lease.token, stamp: position.sequence, granted: now,
        ends: now + lease.duration))
    return lease
  }

  /// The lease that is meant, if it stands: one with another position was made up.
  private func standing(
    _ lease: CacheLease, of key: String, _ state: borrowing MemoryShard.State, at now: CacheInstant
  ) -> LeaseTable.Lease? {
    guard lease.position.epoch == epoch.load(ordering: .relaxed),
      let standing = state.leases.standing(key, at: now), standing.token == lease.token,
      standing.stamp == lease.position.sequence
    else { return nil }
    return standing
  }

  /// Stores what was loaded under a lease, if that stands.
  package func fillNow(_ write: CacheWrite, under lease: CacheLease) -> CacheWriteOutcome {
    let (shard, hash) = place(write.key)
    let now = clock.now()
    let (outcome, woken) = shard.state.withLock {
      state -> (CacheWriteOutcome, [LeaseTable.Waiter]) in
      guard let standing = standing(lease, of: write.key, state, at: now) else {
        return (.leaseLost, [])
      }
      let woken = state.leases.remove(write.key)
      guard state.fits(write) else { return (.full, woken) }
      let times = EntryTimes(write.lifetime, until: oldest(standing.granted), at: now)
      // What became void since then makes it void from the beginning.
      state.store(write, hash, times, stamp: standing.stamp, at: now)
      return (.stored(lease.position, isLocal: maximumAge != nil), woken)
    }
    for waiter in woken { waiter.end(.success(())) }
    return outcome
  }

  /// Gives a lease back without a value. Returns whether it stood.
  package func releaseNow(_ lease: CacheLease, of key: String) -> Bool {
    let (shard, _) = place(key)
    let now = clock.now()
    let woken = shard.state.withLock { state -> [LeaseTable.Waiter]? in
      guard standing(lease, of: key, state, at: now) != nil else { return nil }
      return state.leases.remove(key)
    }
    for waiter in woken ?? [] { waiter.end(.success(())) }
    return woken != nil
  }

  /// The ticket is the token of the lease that is waited for: as long as that stands nothing has
  /// happened, and whoever ends it wakes those who have joined it.
  package func wait(
    for key: String, after ticket: UInt64, until deadline: ContinuousClock.Instant
  ) async {
    let (shard, _) = place(key)
    let waiter = LeaseTable.Waiter()
    var timer: Task<Void, Never>?
    // Cancelled: the wait is over too.
    try? await waiter.value {
      let now = clock.now()
      let ends = shard.state.withLock { state -> CacheInstant? in
        // Whoever has made it void already has looked for those who wait.
        guard let lease = state.leases.standing(key, at: now), isCurrent(lease) else { return nil }
        return state.leases.join(key, token: ticket, at: now, waiter)
      }
      guard let ends else { return waiter.end(.success(())) }
      let until = min(deadline, .now + now.duration(to: ends))
      timer = Task {
        try? await Task.sleep(until: until, clock: .continuous)
        waiter.end(.success(()))
      }
    }
    timer?.cancel()
    shard.state.withLock { $0.leases.leave(key, token: ticket, waiter) }
  }
}
