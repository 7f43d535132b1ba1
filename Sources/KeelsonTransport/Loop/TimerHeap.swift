/// Many timers ordered by the time they are due; a value without clock or I/O.
///
/// A binary heap over a table of slots: adding and cancelling take O(log n), and O(1) in the
/// usual case of deadlines that grow with time. A cancelled or fired timer's identifier is never
/// mistaken for a later timer's in the same slot, since each carries a generation.
struct TimerHeap<Payload> {
  /// Names one timer of one heap.
  struct ID: Hashable, Sendable {
    fileprivate let slot: Int32
    fileprivate let generation: UInt32
  }

  private struct Node {
    var due: UInt64
    var slot: Int32
  }

  private struct Slot {
    var generation: UInt32
    /// Where the timer stands in the heap; negative when the slot is free.
    var position: Int32
    var payload: Payload?
  }

  private var nodes: [Node] = []
  private var slots: [Slot] = []
  private var freeSlots: [Int32] = []

  var count: Int { nodes.count }

  /// When the earliest timer is due.
  var earliest: UInt64? { nodes.first?.due }

  mutating func add(due: UInt64, _ payload: Payload) -> ID {
    let slot: Int32
    if let free = freeSlots.popLast() {
      slot = free
    } else {
      slot = Int32(slots.count)
      slots.append(Slot(generation: 0, position: -1, payload: nil))
    }
    slots[Int(slot)].payload = payload
    let position = nodes.count
    nodes.append(Node(due: due, slot: slot))
    slots[Int(slot)].position = Int32(position)
    siftUp(position)
    return ID(slot: slot, generation: slots[Int(slot)].generation)
  }

  /// Takes a timer out; false when it has fired or was cancelled before.
  @discardableResult
  mutating func cancel(_ id: ID) -> Bool {
    guard slots.indices.contains(Int(id.slot)) else { return false }
    let slot = slots[Int(id.slot)]
    guard slot.generation == id.generation, slot.position >= 0 else { return false }
    removeNode(at: Int(slot.position))
    return true
  }

  /// Takes out the earliest timer if it is due by `now`.
  mutating func popDue(by now: UInt64) -> Payload? {
    guard let first = nodes.first, first.due <= now else { return nil }
    let payload = slots[Int(first.slot)].payload
    removeNode(at: 0)
    return payload
  }

  mutating func removeAll() {
    nodes = []
    slots = []
    freeSlots = []
  }

  private mutating func removeNode(at position: Int) {
    let slot = Int(nodes[position].slot)
    slots[slot].generation &+= 1
    slots[slot].position = -1
    slots[slot].payload = nil
    freeSlots.append(Int32(slot))
    let last = nodes.removeLast()
    guard position < nodes.count else { return }
    nodes[position] = last
    slots[Int(last.slot)].position = Int32(position)
    siftUp(position)
    siftDown(Int(slots[Int(last.slot)].position))
  }

  private mutating func siftUp(_ start: Int) {
    var position = start
    while position > 0 {
      let parent = (position - 1) / 2
      guard nodes[position].due < nodes[parent].due else { return }
      swapNodes(position, parent)
      position = parent
    }
  }

  private mutating func siftDown(_ start: Int) {
    var position = start
    while true {
      var smallest = position
      let left = 2 * position + 1
      if left < nodes.count, nodes[left].due < nodes[smallest].due { smallest = left }
      if left + 1 < nodes.count, nodes[left + 1].due < nodes[smallest].due { smallest = left + 1 }
      guard smallest != position else { return }
      swapNodes(position, smallest)
      position = smallest
    }
  }

  private mutating func swapNodes(_ first: Int, _ second: Int) {
    nodes.swapAt(first, second)
    slots[Int(nodes[first].slot)].position = Int32(first)
    slots[Int(nodes[second].slot)].position = Int32(second)
  }
}
