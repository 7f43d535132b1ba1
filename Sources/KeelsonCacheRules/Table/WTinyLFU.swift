/// Which entries stay when not all fit: W-TinyLFU (Einziger, Friedman, Manes, "TinyLFU: A Highly
/// Efficient Cache Admission Policy", 2017), with sizes in bytes (Einziger, Eytan, Friedman, Manes,
/// "Lightweight Robust Size Aware Cache Management", 2021).
///
/// A new entry comes into the window, 1 % of the room. What has to leave that for another has to be
/// asked for more often than all those together, by the sketch, that would have to go for it from the
/// main room; otherwise it goes itself. So what is read once, however much of it, pushes out nothing, and
/// neither does one large entry that is worth less than many small ones. A counter that is full says
/// "at least": no sum could ever be below it, so a large entry with one comes in when those that go were
/// asked for clearly less on average. The main room is in two: what was asked for there again is
/// protected (80 %), and goes only after the others.
///
/// The newest entry always has a place, also one that is larger than the window: who stores something
/// finds it a moment later. While such ones come the main room leaves a place free for the next: or each of
/// them would push out many small ones, whatever they are worth.
package struct WTinyLFU {
  private enum Region: Int {
    case window, probation, protected
  }

  private static let weightBits = 30
  /// Bytes of an entry at most.
  package static let maximumWeight = 1 << weightBits - 1
  /// Of the victims that one candidate may have, so many are looked at.
  private static let victimsLookedAt = 256
  /// Against a full counter: what victims may count on average.
  private static let victimsAverage = 10
  /// The reserve shrinks by one part in so many with each new entry; of the limit it is a part at most.
  private static let (reserveDecay, reserveShare) = (1_024, 4)

  private var lists = SlotLists(lists: 3)
  /// The weight, and the region in the two bits above it.
  private var weights: [UInt32] = []
  private var sketch = FrequencySketch()
  private var windowBytes = 0
  private var probationBytes = 0
  private var protectedBytes = 0
  /// What the next large entry may need: of the largest that came of late.
  private var reserve = 0
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
    reserve = max(
      reserve - reserve / Self.reserveDecay, min(weight, limit / Self.reserveShare))
  }

  package mutating func remove(_ slot: Int) {
    lists.remove(slot)
    count(-weight(of: slot), in: region(of: slot))
  }

  /// An entry was asked for.
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
    let protected = Region.protected.rawValue
    // The last one is the newest.
    while protectedBytes > protectedLimit, let slot = lists.first(protected),
      lists.next(after: slot) != nil
    {
      let weight = weight(of: slot)
      remove(slot)
      put(slot, weight: weight, into: .probation)
    }
  }

  /// An entry was replaced, by one of another size perhaps: the last to go of all. The caller calls
  /// ``evict(_:into:)`` next.
  package mutating func replace(_ slot: Int, hash: UInt32, weight: Int) {
    sketch.increment(hash)
    let region = region(of: slot) == .window ? Region.window : .protected
    remove(slot)
    put(slot, weight: weight, into: region)
    demote()
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
    let room = limit - max(windowLimit, windowBytes, reserve)
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
      freed += self.weight(of: slot)
      looks += 1
      let isFull = frequency == FrequencySketch.maximum
      guard frequencies < frequency || isFull && frequencies < Self.victimsAverage * looks else {
        return false
      }
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
