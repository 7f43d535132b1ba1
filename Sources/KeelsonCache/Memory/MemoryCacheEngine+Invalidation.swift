package import KeelsonCacheRules
import KeelsonCore
import Synchronization

extension MemoryCacheEngine {
  /// Makes void what the scope says. On return no get gives it. Keys are taken out; what tags,
  /// patterns and all concern is void from now on, and its memory is freed later.
  ///
  /// - Throws: ``CacheEngineError`` with code `.full` when too many patterns wait for a sweep.
  @discardableResult package func invalidateNow(
    _ scope: Invalidation.Scope
  ) throws(CacheEngineError) -> CachePosition {
    if case .keys(let keys) = scope { return deleteNow(keys).position }
    let position = order.withLock { order -> CachePosition? in
      if case .pattern(let pattern) = scope, order.view.isFull(of: pattern) { return nil }
      let invalidation = Invalidation(sequence: order.view.sequence + 1, scope: scope)
      _ = order.view.apply(invalidation)
      lastOfMany.store(order.view.lastOfMany, ordering: .releasing)
      sequence.store(invalidation.sequence, ordering: .releasing)
      order.observer?(.invalidation(invalidation))
      return CachePosition(epoch: order.view.epoch, sequence: invalidation.sequence)
    }
    guard let position else {
      throw CacheEngineError(
        .full,
        "\(limits.bans) patterns wait until the entries they concern have been swept; try again "
          + "in a second")
    }
    wakeWaiters(of: scope)
    return position
  }

  /// Ends the leases that have become void and are waited for, so that one of those who wait gets a new
  /// one.
  private func wakeWaiters(of scope: Invalidation.Scope) {
    if case .tags = scope { return }
    for shard in shards {
      let woken = shard.state.withLock { state -> [LeaseTable.Waiter] in
        guard state.leases.count > 0 else { return [] }
        return state.leases.removeAll { !$0.waiters.isEmpty && !isCurrent($0) }
      }
      for waiter in woken { waiter.end(.success(())) }
    }
  }

  // MARK: Sweeping

  struct SweepState: Sendable {
    /// Where the sweep is; nil between sweeps.
    var place: (shard: Int, slot: Int)?
    /// What is older is looked at.
    var target: UInt64 = 0
    /// Of the last sweep that has ended, and its epoch.
    var swept: CachePosition?
    var epoch: UInt64 = 0
  }

  /// Entries of a slice, when one pattern is in force.
  private static let sliceEntries = 512

  /// Does a part of what frees the memory of void entries: a slice of a shard's entries, looked at with
  /// that shard locked. Begins a sweep if there is something to sweep. When a sweep has ended, the
  /// patterns that were in force at its beginning are forgotten.
  ///
  /// - Returns: whether there is more to do.
  package func sweep() -> Bool {
    sweepState.withLock { sweep in
      let (now, patterns) = order.withLock {
        (CachePosition(epoch: $0.view.epoch, sequence: $0.view.lastOfMany), $0.view.bans.count)
      }
      if sweep.epoch != now.epoch {
        sweep.place = nil
        sweep.swept = nil
        sweep.epoch = now.epoch
      }
      if sweep.place == nil {
        guard now.sequence > 0, sweep.swept != now else { return false }
        sweep.place = (0, 0)
        sweep.target = now.sequence
      }
      guard let place = sweep.place else { return false }
      let entries = max(8, Self.sliceEntries / max(1, patterns))
      let (isAtEnd, woken) = shards[place.shard].state.withLock { state in
        sweepSlice(&state, from: place.slot, count: entries, target: sweep.target)
      }
      for waiter in woken { waiter.end(.success(())) }
      if !isAtEnd {
        sweep.place = (place.shard, place.slot + entries)
      } else if place.shard + 1 < shards.count {
        sweep.place = (place.shard + 1, 0)
      } else {
        sweep.place = nil
        sweep.swept = CachePosition(epoch: sweep.epoch, sequence: sweep.target)
        order.withLock { order in
          if order.view.epoch == sweep.epoch { order.view.dropBans(upTo: sweep.target) }
        }
      }
      return true
    }
  }

  /// Takes out the void entries of a slice; what is current becomes so as of now, so that gets need not
  /// look again. A shard's leases are looked at with its first slice: a void one goes, or it could be
  /// filled when the pattern that voids it is forgotten.
  private func sweepSlice(
    _ state: inout MemoryShard.State, from first: Int, count: Int, target: UInt64
  ) -> (isAtEnd: Bool, woken: [LeaseTable.Waiter]) {
    let now = clock.now()
    return order.withLock { order in
      var woken: [LeaseTable.Waiter] = []
      if first == 0, state.leases.count > 0 {
        woken = state.leases.removeAll {
          $0.ends <= now || !order.view.isCurrent(stamp: $0.stamp, key: $0.key, tags: [])
        }
      }
      let end = min(first + count, state.log.slots)
      for slot in first..<max(first, end) {
        guard let record = state.log.record(slot), record.header.stamp < target else { continue }
        if order.view.isCurrent(stamp: record.header.stamp, key: record.key, tags: record.tags) {
          record.header.stamp = order.view.sequence
        } else {
          state.remove(slot)
        }
      }
      return (end >= state.log.slots, woken)
    }
  }
}
