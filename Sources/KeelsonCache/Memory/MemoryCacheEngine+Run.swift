import KeelsonCacheRules
import KeelsonCore
import Synchronization

extension MemoryCacheEngine {
  /// How often it looks at what time has ended and at what has become void.
  private static let interval: Duration = .milliseconds(100)
  /// Sweeps for tags alone come no more often: what they void goes by itself, where room is needed, or
  /// when it is asked for.
  private static let pauseForTags: Duration = .seconds(10)
  /// After a sweep it rests so many times as long as that took.
  private static let restFactor = 4

  /// Frees the memory of what has expired and of what is void, in slices, until the task is cancelled.
  package func run() async {
    var swept = ContinuousClock.now
    var rest: Duration = .zero
    while !Task.isCancelled {
      for shard in shards {
        while expire(shard) || compact(shard), !Task.isCancelled { await Task.yield() }
      }
      let began = ContinuousClock.now
      let need = sweepNeed
      if need == .urgent || (began - swept > rest && need == .now)
        || (began - swept > Self.pauseForTags && need == .later)
      {
        while sweep(), !Task.isCancelled { await Task.yield() }
        swept = .now
        rest = (swept - began) * Self.restFactor
      }
      // Cancelled: the loop ends.
      try? await Task.sleep(for: Self.interval)
    }
  }

  private enum SweepNeed {
    case none, later, now, urgent
  }

  private var sweepNeed: SweepNeed {
    let swept = sweepState.withLock { $0.swept }
    return order.withLock { order in
      let view = order.view
      let sequence = swept?.epoch == view.epoch ? swept?.sequence ?? 0 : 0
      if view.bans.count * 2 > limits.bans { return .urgent }
      if !view.bans.isEmpty || view.floor > sequence { return .now }
      return view.lastOfMany > sequence ? .later : .none
    }
  }

  /// Entries that are looked at while a shard is locked once.
  private static let sliceOfExpired = 256

  /// Lets go of a slice of what time has ended. Returns whether there may be more.
  private func expire(_ shard: MemoryShard) -> Bool {
    let now = clock.now()
    return shard.state.withLock { state in
      var budget = Self.sliceOfExpired
      state.expire(at: now, budget: &budget)
      return budget == 0
    }
  }

  /// Gives a part of what a shard no longer needs back to the system. Returns whether there may be more.
  private func compact(_ shard: MemoryShard) -> Bool {
    shard.state.withLock { $0.log.compact() }
  }

  /// Lets go of all that time has ended.
  package func expireNow() {
    for shard in shards {
      while expire(shard) {}
    }
  }
}
