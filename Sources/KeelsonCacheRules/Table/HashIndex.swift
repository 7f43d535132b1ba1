/// Slots by hash: chains through flat arrays. Knows no keys: the caller compares those of the slots it is
/// given. 8 bytes a slot, and 4 to 8 bytes for the beginnings of the chains.
package struct HashIndex {
  private struct Node {
    var hash: UInt32
    /// The slot behind it in its chain, or in that of the free slots.
    var next: UInt32
  }
  private static let none = UInt32.max

  private var heads: [UInt32] = []
  private var nodes: [Node] = []
  /// The first of the slots that are not used.
  private var free = none

  package init() {}

  package var slots: Int { nodes.count }
  package var hasFreeSlot: Bool { free != Self.none }
  var bytes: Int { HeapBytes.array(nodes) + HeapBytes.array(heads) }

  package func hash(of slot: Int) -> UInt32 { nodes[slot].hash }

  /// Makes more slots. None may be free.
  package mutating func extend(toSlots slots: Int) {
    let first = nodes.count
    nodes.reserveCapacity(slots)
    for slot in first..<slots {
      nodes.append(Node(hash: 0, next: slot + 1 < slots ? UInt32(slot + 1) : Self.none))
    }
    free = UInt32(first)
    if heads.count < slots { makeChains(max(16, heads.count * 2), of: first) }
  }

  /// Chains the slots from 0 up to one, all of them used, anew.
  private mutating func makeChains(_ count: Int, of slots: Int) {
    var count = count
    while count < nodes.count { count *= 2 }
    heads = []
    heads.reserveCapacity(count)
    heads.append(contentsOf: repeatElement(Self.none, count: count))
    for slot in 0..<slots { link(slot) }
  }

  private mutating func link(_ slot: Int) {
    let head = Int(nodes[slot].hash) & (heads.count - 1)
    nodes[slot].next = heads[head]
    heads[head] = UInt32(slot)
  }

  /// Takes a free slot for a hash. There has to be one.
  package mutating func insert(_ hash: UInt32) -> Int {
    let slot = Int(free)
    free = nodes[slot].next
    nodes[slot].hash = hash
    link(slot)
    return slot
  }

  /// Gives a slot back.
  package mutating func remove(_ slot: Int) {
    let node = nodes[slot]
    let head = Int(node.hash) & (heads.count - 1)
    if heads[head] == slot {
      heads[head] = node.next
    } else {
      var previous = Int(heads[head])
      while nodes[previous].next != slot { previous = Int(nodes[previous].next) }
      nodes[previous].next = node.next
    }
    nodes[slot].next = free
    free = UInt32(slot)
  }

  /// The first slot of a hash.
  package func first(_ hash: UInt32) -> Int? {
    guard !heads.isEmpty else { return nil }
    return find(hash, from: heads[Int(hash) & (heads.count - 1)])
  }

  /// The next one of the same hash.
  package func next(after slot: Int) -> Int? {
    find(nodes[slot].hash, from: nodes[slot].next)
  }

  private func find(_ hash: UInt32, from start: UInt32) -> Int? {
    var slot = start
    while slot != Self.none {
      let node = nodes[Int(slot)]
      if node.hash == hash { return Int(slot) }
      slot = node.next
    }
    return nil
  }
}
