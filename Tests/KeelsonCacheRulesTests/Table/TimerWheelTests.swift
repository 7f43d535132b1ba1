import KeelsonCacheRules
import Testing

struct TimerWheelTests {
  /// 2^16 microseconds.
  static let tick: Int64 = 65_536

  /// All that is told, and how much was looked at for it.
  private func told(_ wheel: inout TimerWheel) -> (slots: Set<Int>, looks: Int) {
    var budget = 1_000_000
    var slots: Set<Int> = []
    while let slot = wheel.next(budget: &budget) {
      #expect(slots.insert(slot).inserted)
    }
    return (slots, 1_000_000 - budget)
  }

  /// Against a dictionary that is gone through, with steps from a moment to half a year.
  @Test func agreesWithAList() {
    let slots = 200
    var now = CacheInstant(microseconds: .random(in: 0...(1 << 50)))
    var wheel = TimerWheel(now: now)
    wheel.extend(toSlots: slots)
    var deadlines: [Int: Int64] = [:]
    var toldEver = 0
    for _ in 0..<4_000 {
      let slot = Int.random(in: 0..<slots)
      switch Int.random(in: 0..<8) {
      case 0:
        wheel.cancel(slot)
        deadlines[slot] = nil
      case 1:
        now.microseconds += .random(in: 0...(1 << Int64.random(in: 0...44)))
        wheel.advance(to: now)
        let due = deadlines.filter {
          ($0.value + Self.tick - 1) / Self.tick <= now.microseconds / Self.tick
        }
        #expect(told(&wheel).slots == Set(due.keys))
        for slot in due.keys { deadlines[slot] = nil }
        toldEver += due.count
      default:
        let ahead = Int64.random(in: -1_000...(1 << Int64.random(in: 10...45)))
        wheel.schedule(slot, at: CacheInstant(microseconds: now.microseconds + ahead))
        deadlines[slot] = now.microseconds + ahead
      }
    }
    #expect(toldEver > 500)
  }

  @Test func nothingIsToldEarlyAndNothingTwice() {
    var wheel = TimerWheel(now: CacheInstant(microseconds: 12_345))
    wheel.extend(toSlots: 1)
    let deadline = CacheInstant(microseconds: 12_345 + 3 * Self.tick)
    wheel.schedule(0, at: deadline)
    wheel.advance(to: deadline)
    #expect(told(&wheel).slots.isEmpty)
    wheel.advance(to: CacheInstant(microseconds: deadline.microseconds + Self.tick))
    #expect(told(&wheel).slots == [0])
    wheel.advance(to: CacheInstant(microseconds: deadline.microseconds << 20))
    #expect(told(&wheel).slots.isEmpty)
  }

  /// From the farthest wheel it goes down through the others: a look for each.
  @Test func aSlotIsMovedFourTimesAtMost() {
    var wheel = TimerWheel(now: CacheInstant(microseconds: 0))
    wheel.extend(toSlots: 1)
    let end: Int64 = (1 << 29) - 1
    wheel.schedule(0, at: CacheInstant(microseconds: end * Self.tick))
    var looks = 0
    var time: Int64 = 0
    // Steps that stop at the beginning of each bucket on the way.
    while time < end {
      time = [24, 18, 12, 6, 0].map { (time >> $0 + 1) << $0 }.first { $0 <= end } ?? end
      wheel.advance(to: CacheInstant(microseconds: time * Self.tick))
      let (slots, now) = told(&wheel)
      looks += now
      #expect(slots.isEmpty == (time < end))
    }
    #expect((2...5).contains(looks))
  }

  @Test func aBudgetIsKept() {
    var wheel = TimerWheel(now: CacheInstant(microseconds: 0))
    wheel.extend(toSlots: 100)
    for slot in 0..<100 { wheel.schedule(slot, at: CacheInstant(microseconds: 1)) }
    wheel.advance(to: CacheInstant(microseconds: Self.tick))
    var budget = 30
    var count = 0
    while wheel.next(budget: &budget) != nil { count += 1 }
    #expect(count == 30)
    #expect(told(&wheel).slots.count == 70)
  }

  @Test func whatHasNoEndIsNeverTold() {
    var wheel = TimerWheel(now: CacheInstant(microseconds: 0))
    wheel.extend(toSlots: 1)
    wheel.schedule(0, at: CacheInstant(microseconds: 1))
    wheel.schedule(0, at: .distantFuture)
    wheel.advance(to: CacheInstant(microseconds: 1 << 60))
    #expect(told(&wheel).slots.isEmpty)
  }
}
