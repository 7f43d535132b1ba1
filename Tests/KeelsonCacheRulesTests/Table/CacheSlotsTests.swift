import KeelsonCacheRules
import Testing

/// Finding, judging and timing together, against dictionaries.
struct CacheSlotsTests {
  private struct Entry: Equatable {
    var hash: UInt32
    var bytes: Int
    var deadline: Int64
  }

  private func instant(_ microseconds: Int64) -> CacheInstant {
    CacheInstant(microseconds: microseconds)
  }

  /// What a plain reference has, the slots have, and nothing else; they never have more bytes than
  /// they may; nobody goes while all fit.
  @Test(arguments: [20_000, 60_000, 10_000_000])
  func agreesWithDictionaries(byteLimit: Int) {
    var slots = CacheSlots(byteLimit: byteLimit, ownerBytes: 8, now: instant(0))
    var entries: [Int: Entry] = [:]
    var now: Int64 = 0
    var gone = 0
    let largest = 3_000
    for step in 0..<6_000 {
      let chosen = entries.isEmpty ? nil : entries.keys.randomElement()
      switch (Int.random(in: 0..<10), chosen) {
      case (0, let slot?):
        slots.remove(slot)
        entries[slot] = nil
      case (1, let slot?):
        let bytes = Int.random(in: 1...largest)
        slots.replace(slot, bytes: bytes, deadline: instant(now + 1_000_000))
        entries[slot]?.bytes = bytes
        entries[slot]?.deadline = now + 1_000_000
      case (2...5, let slot?):
        slots.touch(slot)
      case (6, _):
        now += .random(in: 0...100_000)
        var budget = 10_000
        while let slot = slots.expire(at: instant(now), budget: &budget) {
          #expect(entries[slot].map { $0.deadline <= now } == true)
          entries[slot] = nil
        }
        #expect(entries.values.allSatisfy { $0.deadline > now - 65_536 })
      default:
        let entry = Entry(
          hash: .random(in: 0..<500), bytes: .random(in: 1...largest),
          deadline: now + .random(in: 0...3_000_000))
        let fits = slots.fits(entry.bytes)
        #expect(fits)
        let slot = slots.insert(entry.hash, bytes: entry.bytes, deadline: instant(entry.deadline))
        #expect(entries.updateValue(entry, forKey: slot) == nil)
        let capacity = slots.capacity
        #expect(slot < capacity)
      }
      let wasTooMuch = slots.bytes > byteLimit
      var wentNow = 0
      while let slot = slots.evict() {
        #expect(entries.removeValue(forKey: slot) != nil)
        wentNow += 1
      }
      // What leaves the window goes only where there is no room.
      let (bytes, count) = (slots.bytes, slots.count)
      #expect(wentNow == 0 || wasTooMuch || bytes > byteLimit / 2)
      gone += wentNow
      #expect(bytes <= byteLimit)
      #expect(count == entries.count)
      if step.isMultiple(of: 50) { compare(slots, entries) }
    }
    #expect((gone > 0) == (byteLimit < 10_000_000))
    let evictions = slots.evictions
    #expect(evictions == UInt64(gone))
    for slot in entries.keys { slots.remove(slot) }
    let left = slots.count
    #expect(left == 0)
    slots.removeAll(now: instant(0))
    let empty = CacheSlots(byteLimit: byteLimit, ownerBytes: 8, now: instant(0))
    let (bytes, emptyBytes) = (slots.bytes, empty.bytes)
    // An array takes what malloc has given it: the same request may get a block of 16 bytes more.
    #expect(abs(bytes - emptyBytes) <= 16 * 4)
  }

  private func compare(_ slots: borrowing CacheSlots, _ entries: [Int: Entry]) {
    for hash in 0..<500 as Range<UInt32> {
      var found: Set<Int> = []
      var slot = slots.first(hash)
      while let one = slot {
        #expect(found.insert(one).inserted)
        let bytes = slots.bytes(of: one)
        #expect(bytes == entries[one]?.bytes)
        slot = slots.next(after: one)
      }
      #expect(found == Set(entries.filter { $0.value.hash == hash }.keys))
    }
  }

  /// Bytes are those of the entries and of the arrays: the entries' go with them.
  @Test func bytesAreCounted() {
    var slots = CacheSlots(byteLimit: 1 << 30, ownerBytes: 8, now: instant(0))
    let empty = slots.bytes
    for hash in 0..<10_000 as Range<UInt32> {
      _ = slots.insert(hash &* 0x9E37_79B1, bytes: 100, deadline: .distantFuture)
    }
    let structure = slots.bytes - 1_000_000
    #expect((44..<80).contains((structure - empty) / 10_000))
    for hash in 0..<10_000 as Range<UInt32> {
      if let slot = slots.first(hash &* 0x9E37_79B1) { slots.remove(slot) }
    }
    let (count, bytes) = (slots.count, slots.bytes)
    #expect(count == 0)
    #expect(bytes == structure)
  }
}
