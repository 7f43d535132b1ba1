import KeelsonCacheRules
import KeelsonCore
import Synchronization

/// How the memory of void entries is freed, a slice at a time.
extension MemoryCacheEngine {
  struct SweepState: Sendable {
    /// Where the sweep is; nil between sweeps.
    var place: SweepPlace?
    /// What is older is looked at.
    var target: UInt64 = 0
    /// Of the last sweep that has ended, and its epoch.
    var swept: CachePosition?
    var epoch: UInt64 = 0
  }

  struct SweepPlace: Sendable {
    enum Part: Sendable {
      /// They come first: a void one goes, or it could be filled when the pattern that voids it is
      /// forgotten.
      case leases
      case entries
    }
    var shard = 0
    var part = Part.leases
    var slot = 0
  }

  /// How long a slice may hold its shard's lock, what one run of matches takes apart.
  private static let sliceTime: Duration = .microseconds(500)
  /// Matches of keys with patterns between two looks at the clock.
  private static let matchesOfRun = 64
  private static let longestRun = 32
  /// A run ends after the key that brought it here, about 0.1 ms: some patterns take long.
  private static let stepsOfRun = 128_000

  /// Does a part of what frees the memory of void entries: a slice of a shard, looked at with that shard
  /// locked. Begins a sweep if there is something to sweep. When a sweep has ended, the patterns that
  /// were in force at its beginning are forgotten.
  ///
  /// - Returns: whether there is more to do.
  package func sweep() -> Bool {
    sweepState.withLock { sweep in
      let now = order.withLock {
        CachePosition(epoch: $0.view.epoch, sequence: $0.view.lastOfMany)
      }
      if sweep.epoch != now.epoch {
        sweep.place = nil
        sweep.swept = nil
        sweep.epoch = now.epoch
      }
      if sweep.place == nil {
        guard now.sequence > 0, sweep.swept != now else { return false }
        sweep.place = SweepPlace()
        sweep.target = now.sequence
      }
      guard var place = sweep.place else { return false }
      let (isAtEnd, woken) = shards[place.shard].state.withLock { state in
        sweepSlice(&state, at: &place, target: sweep.target)
      }
      for waiter in woken { waiter.end(.success(())) }
      if isAtEnd {
        if place.part == .leases {
          place = SweepPlace(shard: place.shard, part: .entries)
        } else {
          place = SweepPlace(shard: place.shard + 1)
        }
      }
      if place.shard < shards.count {
        sweep.place = place
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

  /// Takes out what is void, from a place on, until the time of a slice is over.
  private func sweepSlice(
    _ state: inout MemoryShard.State, at place: inout SweepPlace, target: UInt64
  ) -> (isAtEnd: Bool, woken: [LeaseTable.Waiter]) {
    let began = ContinuousClock.now
    var woken: [LeaseTable.Waiter] = []
    repeat {
      let end: Int
      switch place.part {
      case .leases:
        end = state.leases.places
        place.slot = sweepLeases(&state, from: place.slot, to: end, &woken)
      case .entries:
        end = state.log.slots
        place.slot = sweepEntries(&state, from: place.slot, to: end, target: target)
      }
      if place.slot >= end { return (true, woken) }
    } while .now - began < Self.sliceTime
    return (false, woken)
  }

  /// What may void the things of a run, in the order's words: for each its place and the patterns to match;
  /// nil where it is void whatever they say.
  private struct Suspects {
    var found: [(slot: Int, bans: ArraySlice<InvalidationView.Ban>?)] = []
    /// As of when that is so.
    var sequence: UInt64 = 0
    var next: Int
  }

  /// Collects with the order locked, matches nothing. As many as make some matches, one at least.
  private func suspects(
    from first: Int, to end: Int,
    _ look: (Int, InvalidationView) -> ArraySlice<InvalidationView.Ban>??
  ) -> Suspects {
    order.withLock { order in
      var suspects = Suspects(sequence: order.view.sequence, next: first)
      var matches = 0
      let last = min(end, first + Self.longestRun)
      while suspects.next < last, matches < Self.matchesOfRun {
        if let bans = look(suspects.next, order.view) {
          suspects.found.append((suspects.next, bans))
          matches += bans?.count ?? 0
        }
        suspects.next += 1
      }
      return suspects
    }
  }

  private func sweepLeases(
    _ state: inout MemoryShard.State, from first: Int, to end: Int,
    _ woken: inout [LeaseTable.Waiter]
  ) -> Int {
    let now = clock.now()
    let suspects = suspects(from: first, to: end) { slot, view in
      state.leases.lease(at: slot).map { lease in
        lease.ends > now ? view.bansToMatch(stamp: lease.stamp, tags: []) : nil
      }
    }
    var steps = 0
    for (slot, bans) in suspects.found {
      guard let key = state.leases.lease(at: slot)?.key else { continue }
      if BanMatching.isVoid(key, by: bans, steps: &steps) { woken += state.leases.remove(key) }
      if steps > Self.stepsOfRun { return slot + 1 }
    }
    return suspects.next
  }

  /// What is current becomes so as of now, so that gets need not look again.
  private func sweepEntries(
    _ state: inout MemoryShard.State, from first: Int, to end: Int, target: UInt64
  ) -> Int {
    let suspects = suspects(from: first, to: end) { slot, view in
      guard let record = state.log.record(slot), record.header.stamp < target else { return nil }
      return .some(view.bansToMatch(stamp: record.header.stamp, tags: record.tags))
    }
    var steps = 0
    for (slot, bans) in suspects.found {
      guard let record = state.log.record(slot) else { continue }
      if BanMatching.isVoid(record.key, by: bans, steps: &steps) {
        state.remove(slot)
      } else {
        record.header.stamp = suspects.sequence
      }
      if steps > Self.stepsOfRun { return slot + 1 }
    }
    return suspects.next
  }
}
