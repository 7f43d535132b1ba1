/// Which entries stay when not all fit: W-TinyLFU (Einziger, Friedman, Manes, "TinyLFU: A Highly
/// Efficient Cache Admission Policy", 2017), with sizes in bytes (Einziger, Eytan, Friedman, Manes,
/// "Lightweight Robust Size Aware Cache Management", 2021).
///
/// A new entry comes into the window, 1 % of the room. What has to leave that for another has to be
/// asked for more often than all those together, by the sketch, that would have to go for it from the
/// main room; otherwise it goes itself. So what is read once, however much of it, pushes out nothing, and
/// neither does one large entry that is worth less than many small ones. The main room is in two: what
/// was asked for there again is protected (80 %), and goes only after the others.
///
/// The newest entry always has a place, also one that is larger than the window: who stores something
/// finds it a moment later.
package struct WTinyLFU {
  private enum Region: Int {
    case window, probation, protected
  }

  private static let weightBits = 30
  /// Bytes of an entry at most.
  package static let maximumWeight = 1 << weightBits - 1
  /// Of the victims that one candidate may have, so many are looked at.
  private static let victimsLookedAt = 256

  private var lists = SlotLists(lists: 3)
  /// The weight, and the region in the two bits above it.
  private var weights: [UInt32] = []
  private var sketch = FrequencySketch()
  private var windowBytes = 0
  private var probationBytes = 0
  private var protectedBytes = 0
  private var touches: UInt8 = 0
  /// Bytes that the entries may have together.
  package var limit: Int

  package init(limit: Int) {
    self.limit = limit
  }

  /// Bytes of the entries.
  package var totalBytes: Int { windowBytes + probationBytes + protectedBytes }
  var bytes: Int { lists.bytes + HeapBytes.array(weights) + sketch.bytes }
  private var windowLimit: Int { limit / 100 }
  private var protectedLimit: Int { (limit - windowLimit) / 5 * 4 }

  package mutating func extend(toSlots slots: Int) {
    lists.extend(toSlots: slots)
    weights.reserveCapacity(slots)
    weights.append(contentsOf: repeatElement(0, count: slots - weights.count))
    sketch.extend(toEntries: slots)
  }

  package func weight(of slot: Int) -> Int { Int(weights[slot]) & Self.maximumWeight }

  private func region(of slot: Int) -> Region {
    // Two bits, and only these three are ever stored.
    Region(rawValue: Int(weights[slot] >> UInt32(Self.weightBits)))!
  }

  package func frequency(_ hash: UInt32) -> Int { sketch.frequency(hash) }

  private mutating func count(_ bytes: Int, in region: Region) {
    switch region {
    case .window: windowBytes += bytes
    case .probation: probationBytes += bytes
    case .protected: protectedBytes += bytes
    }
  }

  private mutating func put(_ slot: Int, weight: Int, into region: Region) {
    weights[slot] = UInt32(weight) | UInt32(region.rawValue) << UInt32(Self.weightBits)
    lists.append(slot, to: region.rawValue)
    count(weight, in: region)
  }

  /// A new entry. The caller calls ``evict(_:into:)`` next.
  package mutating func insert(_ slot: Int, hash: UInt32, weight: Int) {
    sketch.increment(hash)
    put(slot, weight: weight, into: .window)
  }

  package mutating func remove(_ slot: Int) {
    lists.remove(slot)
    count(-weight(of: slot), in: region(of: slot))
  }

  /// An entry was asked for, or replaced.
  package mutating func touch(_ slot: Int, hash: UInt32) {
    sketch.increment(hash)
    switch region(of: slot) {
    case .window: lists.moveToEnd(slot, of: Region.window.rawValue)
    case .protected:
      // One in four is moved: the order stays nearly the same, and most touches write to no neighbour.
      touches &+= 1
      if touches & 3 == 0 { lists.moveToEnd(slot, of: Region.protected.rawValue) }
    case .probation:
      let weight = weight(of: slot)
      remove(slot)
      put(slot, weight: weight, into: .protected)
      demote()
    }
  }

  private mutating func demote() {
    while protectedBytes > protectedLimit, let slot = lists.first(Region.protected.rawValue) {
      let weight = weight(of: slot)
      remove(slot)
      put(slot, weight: weight, into: .probation)
    }
  }

  /// Another size. The caller calls ``evict(_:into:)`` next.
  package mutating func resize(_ slot: Int, weight: Int) {
    let region = region(of: slot)
    count(weight - self.weight(of: slot), in: region)
    weights[slot] = UInt32(weight) | UInt32(region.rawValue) << UInt32(Self.weightBits)
  }

  /// Chooses who has to go until the rest fits, and forgets them.
  package mutating func evict(_ index: HashIndex, into victims: inout [Int]) {
    let window = Region.window.rawValue
    // The last one is the newest.
    while windowBytes > windowLimit, let slot = lists.first(window), lists.next(after: slot) != nil
    {
      let weight = weight(of: slot)
      remove(slot)
      if admits(weight, index.hash(of: slot), index, into: &victims) {
        put(slot, weight: weight, into: .probation)
      } else {
        victims.append(slot)
      }
    }
    while totalBytes > limit, let slot = leastWorth { drop(slot, into: &victims) }
  }

  /// The first to go when nothing is to be weighed.
  private var leastWorth: Int? {
    lists.first(Region.probation.rawValue) ?? lists.first(Region.protected.rawValue)
      ?? lists.first(Region.window.rawValue)
  }

  private mutating func drop(_ slot: Int, into victims: inout [Int]) {
    remove(slot)
    victims.append(slot)
  }

  /// Whether an entry that has left the window comes into the main room; makes place for it there.
  private mutating func admits(
    _ weight: Int, _ hash: UInt32, _ index: HashIndex, into victims: inout [Int]
  ) -> Bool {
    let room = limit - max(windowLimit, windowBytes)
    guard weight <= room else { return false }
    let missing = probationBytes + protectedBytes + weight - room
    guard missing > 0 else { return true }
    let frequency = sketch.frequency(hash)
    var freed = 0
    var frequencies = 0
    var looks = 0
    var next = leastWorthInMain(after: nil)
    while freed < missing, looks < Self.victimsLookedAt, let slot = next {
      frequencies += sketch.frequency(index.hash(of: slot))
      guard frequencies < frequency else { return false }
      freed += self.weight(of: slot)
      looks += 1
      next = leastWorthInMain(after: slot)
    }
    while probationBytes + protectedBytes + weight > room, let slot = leastWorthInMain(after: nil) {
      drop(slot, into: &victims)
    }
    return true
  }

  /// In the order in which they go: those on probation, then the protected ones.
  private func leastWorthInMain(after slot: Int?) -> Int? {
    guard let slot else {
      return lists.first(Region.probation.rawValue) ?? lists.first(Region.protected.rawValue)
    }
    if let next = lists.next(after: slot) { return next }
    return region(of: slot) == .probation ? lists.first(Region.protected.rawValue) : nil
  }
}
