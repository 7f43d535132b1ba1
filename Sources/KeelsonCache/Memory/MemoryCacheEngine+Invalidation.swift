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
}
