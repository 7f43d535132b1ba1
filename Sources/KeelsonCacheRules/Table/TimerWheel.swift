/// Says which slots' time has come: adding, removing and telling cost the same however many there are.
///
/// A hierarchy of five wheels of 64 buckets (Varghese and Lauck, "Hashed and Hierarchical Timing
/// Wheels", 1987). A bucket of the first is one tick of 65.5 ms, of each other one turn of the wheel
/// below. When time enters a bucket its slots are due to be looked at: whose time has come is told, the
/// others go into a lower wheel. So a slot is moved four times at most. 12 bytes a slot.
///
/// No slot is told too early, unless its time is more than 2.2 years away: then after that.
package struct TimerWheel {
  /// 2^16 microseconds.
  private static let tickBits = 16
  private static let bucketBits = 6
  private static let buckets = 1 << bucketBits
  private static let levels = 5
  private static let farthest: Int64 = 1 << (bucketBits * levels) - 1
  /// The list of what is to be looked at; the buckets' lists follow.
  private static let due = 0

  private var lists = SlotLists(lists: 1 + levels * buckets)
  /// When each slot is due; the upper bits are those of ``now``, or one more.
  private var ticks: [UInt32] = []
  private var now: Int64

  package init(now: CacheInstant) {
    self.now = now.microseconds >> Self.tickBits
  }

  package mutating func extend(toSlots slots: Int) {
    lists.extend(toSlots: slots)
    ticks.reserveCapacity(slots)
    ticks.append(contentsOf: repeatElement(0, count: slots - ticks.count))
  }

  var bytes: Int { lists.bytes + HeapBytes.array(ticks) }

  /// Has a slot told once that moment has passed, in place of what was said before.
  package mutating func schedule(_ slot: Int, at deadline: CacheInstant) {
    lists.remove(slot)
    guard deadline != .distantFuture else { return }
    // Rounded up: the tick begins when the deadline has passed.
    let mask: Int64 = 1 << Self.tickBits - 1
    let tick =
      (deadline.microseconds >> Self.tickBits) + (deadline.microseconds & mask == 0 ? 0 : 1)
    ticks[slot] = UInt32(truncatingIfNeeded: min(max(tick, now), now + Self.farthest))
    place(slot)
  }

  package mutating func cancel(_ slot: Int) {
    lists.remove(slot)
  }

  private mutating func place(_ slot: Int) {
    let tick = ticks[slot]
    let ahead = Int32(bitPattern: tick &- UInt32(truncatingIfNeeded: now))
    guard ahead > 0 else { return lists.append(slot, to: Self.due) }
    let level = (31 - ahead.leadingZeroBitCount) / Self.bucketBits
    lists.append(slot, to: Self.list(level, Int64(tick) >> (level * Self.bucketBits)))
  }

  private static func list(_ level: Int, _ position: Int64) -> Int {
    1 + level << bucketBits + Int(position & Int64(buckets - 1))
  }

  /// Time goes on: what its passing concerns is due to be looked at. At most 320 steps.
  package mutating func advance(to instant: CacheInstant) {
    let tick = instant.microseconds >> Self.tickBits
    guard tick > now else { return }
    for level in 0..<Self.levels {
      let shift = level * Self.bucketBits
      let (from, to) = (now >> shift, tick >> shift)
      guard to > from else { break }
      for position in 0..<min(to - from, Int64(Self.buckets)) {
        lists.moveAll(of: Self.list(level, from + 1 + position), to: Self.due)
      }
    }
    now = tick
  }

  /// A slot whose time has come; it is not told again. Looks at no more slots than the budget says, and
  /// takes off how many that were.
  package mutating func next(budget: inout Int) -> Int? {
    while budget > 0, let slot = lists.first(Self.due) {
      budget -= 1
      lists.remove(slot)
      if Int32(bitPattern: ticks[slot] &- UInt32(truncatingIfNeeded: now)) <= 0 { return slot }
      place(slot)
    }
    return nil
  }
}
