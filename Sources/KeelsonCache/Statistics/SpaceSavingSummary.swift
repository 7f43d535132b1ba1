/// The most frequent of many keys, in room for a given number. Source: Metwally, Agrawal, El Abbadi,
/// "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005.
///
/// A key that is not among those that are held takes the place of the rarest and inherits its count
/// as its error: a held count is too high by its error at most, and a key that makes up more than
/// 1/capacity of all is held for certain.
struct SpaceSavingSummary: Sendable {
  struct Entry: Sendable, Hashable {
    var key: String
    var count: Double
    /// By how much the count may be too high.
    var error: Double
  }

  private(set) var entries: [Entry] = []
  private let capacity: Int
  private var slots: [String: Int] = [:]
  /// Slots with the rarest at its root, and for each slot its place there.
  private var heap: [Int] = []
  private var places: [Int] = []

  init(capacity: Int) {
    precondition(capacity > 0, "A summary needs room: its owner sets it by a constant.")
    self.capacity = capacity
  }

  mutating func add(_ key: String, weight: Double) {
    if let slot = slots[key] {
      entries[slot].count += weight
      sink(places[slot])
    } else if entries.count < capacity {
      let slot = entries.count
      entries.append(Entry(key: key, count: weight, error: 0))
      slots[key] = slot
      heap.append(slot)
      places.append(heap.count - 1)
      rise(heap.count - 1)
    } else {
      let slot = heap[0]
      let rarest = entries[slot]
      slots[rarest.key] = nil
      slots[key] = slot
      entries[slot] = Entry(key: key, count: rarest.count + weight, error: rarest.count)
      sink(0)
    }
  }

  /// Multiplies all counts, which keeps their order.
  mutating func scale(by factor: Double) {
    for slot in entries.indices {
      entries[slot].count *= factor
      entries[slot].error *= factor
    }
  }

  // MARK: The heap

  private mutating func rise(_ start: Int) {
    var place = start
    while place > 0 {
      let parent = (place - 1) / 2
      guard entries[heap[place]].count < entries[heap[parent]].count else { return }
      exchange(place, parent)
      place = parent
    }
  }

  private mutating func sink(_ start: Int) {
    var place = start
    while true {
      let left = 2 * place + 1
      guard left < heap.count else { return }
      let right = left + 1
      let child =
        right < heap.count && entries[heap[right]].count < entries[heap[left]].count ? right : left
      guard entries[heap[child]].count < entries[heap[place]].count else { return }
      exchange(place, child)
      place = child
    }
  }

  private mutating func exchange(_ one: Int, _ other: Int) {
    heap.swapAt(one, other)
    places[heap[one]] = one
    places[heap[other]] = other
  }
}
